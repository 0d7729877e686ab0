-- The requests of each caller by route and hour. A name that is not known is empty.
CREATE TABLE usage_hours (
    hour BIGINT NOT NULL,
    route TEXT NOT NULL,
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    client TEXT NOT NULL,
    key_id TEXT NOT NULL,
    passed BIGINT NOT NULL,
    refused BIGINT NOT NULL,
    PRIMARY KEY (hour, route, issuer, subject, client, key_id)
);
CREATE INDEX usage_hours_subject ON usage_hours (subject, hour);
CREATE INDEX usage_hours_key_id ON usage_hours (key_id, hour) WHERE key_id <> '';

-- The batches that were counted. One that is delivered again counts nothing.
CREATE TABLE usage_batches (
    id TEXT NOT NULL PRIMARY KEY,
    counted_at BIGINT NOT NULL
);
CREATE INDEX usage_batches_counted_at ON usage_batches (counted_at);

-- What limits of calendar periods and credits have used, by the state in the store that counted it.
CREATE TABLE quota_usage (
    limit_name TEXT NOT NULL,
    state TEXT NOT NULL,
    hash TEXT NOT NULL,
    begun BIGINT NOT NULL,
    origin BIGINT NOT NULL,
    used BIGINT NOT NULL,
    reported_at BIGINT NOT NULL,
    PRIMARY KEY (limit_name, state, hash, begun, origin)
);
CREATE INDEX quota_usage_reported_at ON quota_usage (reported_at);
