-- Who or what is refused, until when. A cleared or ended block stays for a day, so that its deletion reaches a store
-- that lost it.
CREATE TABLE blocks (
    id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    kind TEXT NOT NULL,
    issuer TEXT NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    ends_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    cleared_at BIGINT,
    actor TEXT NOT NULL
);
CREATE INDEX blocks_changed_at ON blocks (changed_at, id);
CREATE INDEX blocks_ends_at ON blocks (ends_at) WHERE cleared_at IS NULL;
CREATE INDEX blocks_cleared_at ON blocks (cleared_at) WHERE cleared_at IS NOT NULL;
CREATE INDEX blocks_hash ON blocks (hash) WHERE cleared_at IS NULL;
CREATE INDEX blocks_networks ON blocks (name) WHERE cleared_at IS NULL AND kind IN ('address', 'network');

-- One row, which is locked by each change of the list of blocked networks.
CREATE TABLE block_list (
    id BIGINT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL
);

-- Another quota for one caller of a limit.
CREATE TABLE quota_overrides (
    id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    limit_name TEXT NOT NULL,
    issuer TEXT NOT NULL,
    parts TEXT NOT NULL,
    quota BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    cleared_at BIGINT,
    actor TEXT NOT NULL
);
CREATE INDEX quota_overrides_changed_at ON quota_overrides (changed_at, id);
CREATE INDEX quota_overrides_ends_at ON quota_overrides (ends_at) WHERE cleared_at IS NULL;
CREATE INDEX quota_overrides_cleared_at ON quota_overrides (cleared_at) WHERE cleared_at IS NOT NULL;
CREATE INDEX quota_overrides_hash ON quota_overrides (hash) WHERE cleared_at IS NULL;

-- The sum of the credits that one caller of a limit was granted, and each grant.
CREATE TABLE credit_balances (
    id TEXT NOT NULL PRIMARY KEY,
    hash TEXT NOT NULL,
    limit_name TEXT NOT NULL,
    issuer TEXT NOT NULL,
    parts TEXT NOT NULL,
    granted BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    actor TEXT NOT NULL
);
CREATE INDEX credit_balances_changed_at ON credit_balances (changed_at, id);
CREATE INDEX credit_balances_hash ON credit_balances (hash);
CREATE TABLE credit_grants (
    balance_id TEXT NOT NULL REFERENCES credit_balances (id),
    grant_id TEXT NOT NULL,
    credits BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    PRIMARY KEY (balance_id, grant_id)
);
CREATE INDEX credit_grants_created_at ON credit_grants (created_at);
