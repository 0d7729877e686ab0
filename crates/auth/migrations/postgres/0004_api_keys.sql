-- API keys. The keys themselves are stored nowhere, only their hashes.
CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    owner_kind TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    name TEXT NOT NULL,
    display_prefix TEXT NOT NULL,
    scope TEXT NOT NULL,
    plan TEXT,
    quotas TEXT NOT NULL,
    networks TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT
);
CREATE INDEX api_keys_owner ON api_keys (owner_kind, owner_id, created_at, id);
CREATE INDEX api_keys_created_at ON api_keys (created_at, id);
CREATE INDEX api_keys_changed_at ON api_keys (changed_at, id);
CREATE INDEX api_keys_expires_at ON api_keys (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX api_keys_revoked_at ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;

-- The secrets of a key, by the SHA-256 of the whole key. The current one has no end.
CREATE TABLE api_key_secrets (
    hash TEXT NOT NULL PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES api_keys (id),
    created_at BIGINT NOT NULL,
    ends_at BIGINT
);
CREATE INDEX api_key_secrets_key_id ON api_key_secrets (key_id, created_at);
CREATE INDEX api_key_secrets_ends_at ON api_key_secrets (ends_at) WHERE ends_at IS NOT NULL;
