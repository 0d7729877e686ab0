//! Deletes expired rows.

use super::api_keys::KEY_RETENTION_SECONDS;
use super::pool::{Db, Purpose, to_i64};
use crate::token::ACCESS_TOKEN_SECONDS_MAX;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;

impl Db {
    /// Deletes one batch of expired rows and returns their number. `expire` returns the commands
    /// that remove an expired session from the store, given its user and its id. Each statement is
    /// a short transaction of its own, so that writers wait only briefly. If one fails, the others
    /// still run. Skips rows that another transaction has locked, because two cleaners could
    /// deadlock on each other's rows.
    pub async fn delete_expired(
        &self,
        now: UnixSeconds,
        idle_seconds: u64,
        audit_seconds: u64,
        expire: impl Fn(&str, &str) -> Vec<Command>,
    ) -> Result<u64, sqlx::Error> {
        let ago = |age: u64| to_i64(now.0.saturating_sub(age));
        let (mut deleted, mut failure) = (0, None);
        for (statement, before) in [
            (
                "UPDATE refresh_tokens SET answer = NULL WHERE hash IN (SELECT hash FROM refresh_tokens
                 WHERE answer IS NOT NULL AND spent_at < $1 LIMIT 500 /* skip locked */)",
                ago(GRACE_SECONDS_MAX),
            ),
            (
                "DELETE FROM revoked_tokens WHERE jti IN
                 (SELECT jti FROM revoked_tokens WHERE expires_at < $1 LIMIT 500 /* skip locked */)",
                ago(RETENTION_SECONDS),
            ),
            (
                "DELETE FROM console_sessions WHERE hash IN
                 (SELECT hash FROM console_sessions WHERE ends_at < $1
                 LIMIT 500 /* skip locked */)",
                ago(CLOCK_SKEW_SECONDS),
            ),
            (
                "DELETE FROM client_tokens WHERE hash IN
                 (SELECT hash FROM client_tokens WHERE expires_at < $1
                 LIMIT 500 /* skip locked */)",
                ago(CLOCK_SKEW_SECONDS),
            ),
            (
                "DELETE FROM client_secrets WHERE hash IN
                 (SELECT hash FROM client_secrets WHERE expires_at < $1
                 LIMIT 500 /* skip locked */)",
                ago(CLOCK_SKEW_SECONDS),
            ),
            (
                "DELETE FROM used_assertions WHERE hash IN
                 (SELECT hash FROM used_assertions WHERE expires_at < $1
                 LIMIT 500 /* skip locked */)",
                ago(CLOCK_SKEW_SECONDS),
            ),
            (
                "DELETE FROM clients WHERE id IN (SELECT c.id FROM clients c
                 WHERE c.deleted_at < $1
                 AND NOT EXISTS (SELECT 1 FROM client_tokens t WHERE t.client_id = c.id)
                 LIMIT 100 /* skip locked */)",
                ago(RETENTION_SECONDS),
            ),
            (
                "DELETE FROM audit WHERE id IN
                 (SELECT id FROM audit WHERE at < $1 LIMIT 500 /* skip locked */)",
                // A trigger rejects the deletion of rows that are newer by the database's clock.
                ago(audit_seconds + CLOCK_SKEW_SECONDS),
            ),
            (
                "DELETE FROM api_key_secrets WHERE hash IN
                 (SELECT hash FROM api_key_secrets WHERE ends_at < $1 LIMIT 500 /* skip locked */)",
                ago(KEY_RETENTION_SECONDS),
            ),
            (
                "DELETE FROM api_key_secrets WHERE hash IN (SELECT hash FROM api_key_secrets
                 WHERE key_id IN (SELECT id FROM api_keys WHERE revoked_at < $1 LIMIT 100)
                 LIMIT 500 /* skip locked */)",
                ago(KEY_RETENTION_SECONDS),
            ),
            (
                "DELETE FROM api_key_secrets WHERE hash IN (SELECT hash FROM api_key_secrets
                 WHERE key_id IN (SELECT id FROM api_keys WHERE expires_at < $1 LIMIT 100)
                 LIMIT 500 /* skip locked */)",
                ago(EXPIRED_KEY_SECONDS),
            ),
            (
                "DELETE FROM api_keys WHERE id IN (SELECT k.id FROM api_keys k
                 WHERE k.revoked_at < $1
                 AND NOT EXISTS (SELECT 1 FROM api_key_secrets s WHERE s.key_id = k.id)
                 LIMIT 100 /* skip locked */)",
                ago(KEY_RETENTION_SECONDS),
            ),
            (
                "DELETE FROM api_keys WHERE id IN (SELECT k.id FROM api_keys k
                 WHERE k.expires_at < $1
                 AND NOT EXISTS (SELECT 1 FROM api_key_secrets s WHERE s.key_id = k.id)
                 LIMIT 100 /* skip locked */)",
                ago(EXPIRED_KEY_SECONDS),
            ),
            // These queries start from the sessions, which have indexes by time. The many tokens
            // have none.
            (
                "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens
                 WHERE session_id IN (SELECT id FROM sessions WHERE expires_at < $1 LIMIT 100)
                 LIMIT 500 /* skip locked */)",
                ago(RETENTION_SECONDS),
            ),
            (
                "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens
                 WHERE session_id IN (SELECT id FROM sessions WHERE revoked_at < $1 LIMIT 100)
                 LIMIT 500 /* skip locked */)",
                ago(RETENTION_SECONDS),
            ),
        ] {
            self.count(Purpose::Maintenance);
            let statement = self.skipping_locked(statement);
            match sqlx::query(statement).bind(before).execute(&self.writer).await {
                Ok(result) => deleted += result.rows_affected(),
                Err(error) => failure = Some(error),
            }
        }
        // An idle session can't be refreshed any more. Revoking it removes it from lists, too.
        // The condition is repeated, because a refresh may commit after the inner query: Postgres
        // evaluates only the outer condition again.
        let idle = "UPDATE sessions SET revoked_at = $1, revoked_why = 'idle' WHERE id IN
             (SELECT id FROM sessions WHERE revoked_at IS NULL AND refreshed_at <= $2
             LIMIT 100 /* skip locked */)
             AND revoked_at IS NULL AND refreshed_at <= $2
             RETURNING id, user_id";
        let ran_out = "DELETE FROM sessions WHERE id IN (SELECT s.id FROM sessions s
             WHERE s.expires_at < $2 AND $1 > 0
             AND NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.session_id = s.id)
             LIMIT 100 /* skip locked */)
             RETURNING id, user_id";
        let revoked = "DELETE FROM sessions WHERE id IN (SELECT s.id FROM sessions s
             WHERE s.revoked_at < $2 AND $1 > 0
             AND NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.session_id = s.id)
             LIMIT 100 /* skip locked */)
             RETURNING id, user_id";
        for (statement, before, expires) in [
            (idle, ago(idle_seconds), true),
            (ran_out, ago(RETENTION_SECONDS), true),
            (revoked, ago(RETENTION_SECONDS), false),
        ] {
            match self
                .delete_expired_sessions(statement, before, now, expires.then_some(&expire))
                .await
            {
                Ok(sessions) => deleted += sessions,
                Err(error) => failure = Some(error),
            }
        }
        match (deleted, failure) {
            (0, Some(error)) => Err(error),
            (deleted, _) => Ok(deleted),
        }
    }

    async fn delete_expired_sessions(
        &self,
        statement: &'static str,
        before: i64,
        now: UnixSeconds,
        expire: Option<&impl Fn(&str, &str) -> Vec<Command>>,
    ) -> Result<u64, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Maintenance);
        let statement = self.skipping_locked(statement);
        let rows =
            sqlx::query(statement).bind(to_i64(now.0)).bind(before).fetch_all(&mut *tx).await?;
        let mut commands = Vec::new();
        for row in &rows {
            let (id, user_id): (String, String) = (row.try_get("id")?, row.try_get("user_id")?);
            commands.extend(expire.map(|expire| expire(&user_id, &id)).unwrap_or_default());
        }
        if !commands.is_empty() {
            self.enqueue(&mut tx, "", commands, now).await?;
        }
        tx.commit().await?;
        Ok(rows.len() as u64)
    }
}

/// The longest grace period that can be configured.
const GRACE_SECONDS_MAX: u64 = 300;
/// How long an expired API key is listed. It is longer than [`KEY_RETENTION_SECONDS`].
const EXPIRED_KEY_SECONDS: u64 = 30 * 86_400;
/// How far the clocks of this service and of its database may differ.
const CLOCK_SKEW_SECONDS: u64 = 3600;
/// How long an ended session is retained: longer than the life of its tokens and revocation
/// markers.
const RETENTION_SECONDS: u64 = ACCESS_TOKEN_SECONDS_MAX + 3600;
