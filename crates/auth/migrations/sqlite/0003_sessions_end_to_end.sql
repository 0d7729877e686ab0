-- What a refresh gave with each token: when its access token ends and what it is called; and for whoever asks the
-- same again within the grace, the whole answer, sealed under a key that is derived from the spent token.
ALTER TABLE refresh_tokens ADD COLUMN access_expires_at BIGINT;
ALTER TABLE refresh_tokens ADD COLUMN access_jti TEXT;
ALTER TABLE refresh_tokens ADD COLUMN access_scope TEXT;
ALTER TABLE refresh_tokens ADD COLUMN answer TEXT;
DROP INDEX refresh_tokens_session_id;
CREATE INDEX refresh_tokens_session_id ON refresh_tokens (session_id, created_at);
CREATE INDEX refresh_tokens_access_hash ON refresh_tokens (access_hash);
CREATE INDEX refresh_tokens_answered ON refresh_tokens (spent_at) WHERE answer IS NOT NULL;

ALTER TABLE sessions ADD COLUMN refreshed_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN device TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN address TEXT NOT NULL DEFAULT '';
UPDATE sessions SET refreshed_at = COALESCE(
    (SELECT MAX(created_at) FROM refresh_tokens WHERE session_id = sessions.id), created_at);
CREATE INDEX sessions_refreshed_at ON sessions (refreshed_at) WHERE revoked_at IS NULL;
CREATE INDEX users_disabled_at ON users (disabled_at) WHERE disabled_at IS NOT NULL;
CREATE INDEX sessions_expires_at ON sessions (expires_at);
CREATE INDEX sessions_revoked_at ON sessions (revoked_at) WHERE revoked_at IS NOT NULL;

-- Whose row it is, a session's or a user's: what the store must learn of it is void once it has to learn of its end.
DROP INDEX outbox_created_at;
CREATE INDEX outbox_created_at ON outbox (created_at, id);
ALTER TABLE outbox ADD COLUMN about TEXT NOT NULL DEFAULT '';
CREATE INDEX outbox_about ON outbox (about);

-- Access tokens that were revoked one by one.
CREATE TABLE revoked_tokens (
    jti TEXT NOT NULL PRIMARY KEY,
    revoked_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX revoked_tokens_expires_at ON revoked_tokens (expires_at);

-- The keys that sign: the last one whose time has come. The private half is sealed under MASTER_KEY.
CREATE TABLE signing_keys (
    generation BIGINT NOT NULL PRIMARY KEY,
    kid TEXT NOT NULL UNIQUE,
    algorithm TEXT NOT NULL,
    public_jwk TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    active_from BIGINT NOT NULL
);

CREATE TABLE user_countries (
    user_id TEXT NOT NULL REFERENCES users (id),
    country TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, country)
);

-- Security events: rows are added, and end after 90 days at the earliest.
CREATE TABLE audit (
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    user_id TEXT,
    session_id TEXT,
    address TEXT NOT NULL,
    device TEXT NOT NULL,
    request_id TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_user_id ON audit (user_id, at);
CREATE TRIGGER audit_keeps BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit
WHEN OLD.at > CAST(strftime('%s', 'now') AS INTEGER) - 7776000
BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
CREATE TRIGGER audit_is_new BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'audit is append-only'); END;
