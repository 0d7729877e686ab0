-- The lists and searches of the console. Names are compared without case, and texts byte by byte.
ALTER TABLE sessions ADD COLUMN country TEXT NOT NULL DEFAULT '';
DROP INDEX sessions_user_id;
CREATE INDEX sessions_user_id ON sessions (user_id, created_at, id);
CREATE INDEX sessions_active ON sessions (user_id) WHERE revoked_at IS NULL;
CREATE INDEX sessions_created_at ON sessions (created_at, id);
CREATE INDEX sessions_address ON sessions (address COLLATE "C");
CREATE INDEX users_name ON users (lower(username) COLLATE "C", id) WHERE deleted_at IS NULL;
CREATE INDEX users_name_disabled ON users (lower(username) COLLATE "C", id)
WHERE deleted_at IS NULL AND disabled_at IS NOT NULL;
CREATE INDEX api_keys_name ON api_keys (lower(name) COLLATE "C");
CREATE INDEX api_keys_display_prefix ON api_keys (display_prefix COLLATE "C");
DROP INDEX audit_at;
CREATE INDEX audit_at ON audit (at, id);
DROP INDEX audit_user_id;
CREATE INDEX audit_user_id ON audit (user_id, at, id);
CREATE INDEX audit_session_id ON audit (session_id, at, id) WHERE session_id IS NOT NULL;
CREATE INDEX audit_by_user_id ON audit (by_user_id, at, id) WHERE by_user_id IS NOT NULL;
CREATE INDEX audit_event ON audit (event, at, id);
CREATE INDEX audit_actor ON audit (actor, at, id);
CREATE INDEX audit_address ON audit (address COLLATE "C");
CREATE INDEX audit_request_id ON audit (request_id COLLATE "C");
CREATE INDEX audit_detail ON audit (substr(detail, 1, 40) COLLATE "C");
