-- Who in the console made a change, and why. Empty for other changes.
ALTER TABLE audit ADD COLUMN by_user_id TEXT;
ALTER TABLE audit ADD COLUMN reason TEXT NOT NULL DEFAULT '';

-- The sessions of operators in the console, by the hash of their cookie.
CREATE TABLE console_sessions (
    hash TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL
);
CREATE INDEX console_sessions_user_id ON console_sessions (user_id);
CREATE INDEX console_sessions_ends_at ON console_sessions (ends_at);
