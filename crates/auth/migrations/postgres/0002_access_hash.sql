-- The access token that was issued with a refresh token, by its hash: when the session ends, its record in the
-- store is deleted.
ALTER TABLE refresh_tokens ADD COLUMN access_hash TEXT;
