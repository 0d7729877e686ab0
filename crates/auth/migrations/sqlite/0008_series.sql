-- What the edges and this service counted in each minute and hour. The data are pairs `id:count`,
-- separated by spaces. The ids are those of series_names, so that a row does not repeat the names.
CREATE TABLE series (
    span TEXT NOT NULL,
    start BIGINT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (span, start)
);

-- The names of the counters, and when each was last used, to within a day.
CREATE TABLE series_names (
    id BIGINT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    used_at BIGINT NOT NULL
);

-- One row: the counters of the edges as they were read last, as JSON, and when. It is empty before
-- the first time. Every writer of the tables above locks it, and each reading has a version.
CREATE TABLE series_state (
    id BIGINT NOT NULL PRIMARY KEY,
    version TEXT NOT NULL,
    at BIGINT NOT NULL,
    data TEXT NOT NULL
);
INSERT INTO series_state (id, version, at, data) VALUES (1, '', 0, '');
