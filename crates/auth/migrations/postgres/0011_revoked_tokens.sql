-- Finds the tokens that were revoked in the last minute, every two seconds.
CREATE INDEX revoked_tokens_revoked_at ON revoked_tokens (revoked_at, jti);
