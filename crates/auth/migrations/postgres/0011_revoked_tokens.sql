-- The service asks every two seconds which tokens were revoked in the last minute.
CREATE INDEX revoked_tokens_revoked_at ON revoked_tokens (revoked_at, jti);
