-- Clients that get access tokens for themselves (RFC 6749 section 4.4).
CREATE TABLE clients (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,
    token_seconds BIGINT,
    plan TEXT,
    claims TEXT,
    auth_method TEXT NOT NULL,
    jwks TEXT,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT,
    tokens_revoked_at BIGINT,
    deleted_at BIGINT
);
CREATE INDEX clients_created_at ON clients (created_at, id);
CREATE INDEX clients_disabled_at ON clients (disabled_at) WHERE disabled_at IS NOT NULL;
CREATE INDEX clients_tokens_revoked_at ON clients (tokens_revoked_at) WHERE tokens_revoked_at IS NOT NULL;
CREATE INDEX clients_deleted_at ON clients (deleted_at) WHERE deleted_at IS NOT NULL;

-- Their secrets, by their hashes. A secret that was replaced has an end.
CREATE TABLE client_secrets (
    hash TEXT NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL REFERENCES clients (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX client_secrets_client_id ON client_secrets (client_id);
CREATE INDEX client_secrets_expires_at ON client_secrets (expires_at) WHERE expires_at IS NOT NULL;

-- Their access tokens, by their hashes: the records in the store end with the client.
CREATE TABLE client_tokens (
    hash TEXT NOT NULL PRIMARY KEY,
    client_id TEXT NOT NULL REFERENCES clients (id),
    jti TEXT NOT NULL,
    scope TEXT NOT NULL,
    claims TEXT,
    issued_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX client_tokens_client_id ON client_tokens (client_id, issued_at);
CREATE INDEX client_tokens_expires_at ON client_tokens (expires_at);

-- The assertions by which clients authenticated (RFC 7523), by the hash of client and jti: each works once.
CREATE TABLE used_assertions (
    hash TEXT NOT NULL PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX used_assertions_expires_at ON used_assertions (expires_at);

-- The custom claims of a user's tokens, and of each opaque token as it was issued.
ALTER TABLE users ADD COLUMN claims TEXT;
ALTER TABLE users ADD COLUMN tokens_revoked_at BIGINT;
ALTER TABLE users ADD COLUMN deleted_at BIGINT;
ALTER TABLE refresh_tokens ADD COLUMN access_claims TEXT;
ALTER TABLE refresh_tokens ADD COLUMN access_issued_at BIGINT;
CREATE INDEX users_created_at ON users (created_at, id);
CREATE INDEX users_tokens_revoked_at ON users (tokens_revoked_at) WHERE tokens_revoked_at IS NOT NULL;
