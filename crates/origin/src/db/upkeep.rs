//! What is done beside requests: what has ended is deleted, and what the store must know is read again.

use super::{Db, Purpose, seconds};
use crate::config::ACCESS_TOKEN_SECONDS_MAX;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;

/// Something that was revoked, and when.
pub struct Revoked {
    pub name: String,
    pub at: u64,
}

/// What was revoked.
#[derive(Clone, Copy)]
pub enum RevokedKind {
    Session,
    /// One access token.
    Token,
    /// All of a user who is disabled.
    User,
}

impl Db {
    /// Deletes one batch of what has ended; how much that was. A session that ran out is told to the store, in
    /// whose list it would stay.
    pub async fn clean(
        &self,
        now: UnixSeconds,
        idle_seconds: u64,
        audit_seconds: u64,
        leave: impl Fn(&str, &str) -> Vec<Command>,
    ) -> Result<u64, sqlx::Error> {
        let ago = |age: u64| seconds(now.0.saturating_sub(age));
        let mut done = 0;
        // Each statement is a short transaction of its own, so that no writer waits for long.
        for (statement, before) in [
            (
                "UPDATE refresh_tokens SET answer = NULL WHERE hash IN (SELECT hash FROM refresh_tokens
                 WHERE answer IS NOT NULL AND spent_at < $1 LIMIT 500)",
                ago(ANSWER_SECONDS_MAX),
            ),
            (
                "DELETE FROM revoked_tokens WHERE jti IN
                 (SELECT jti FROM revoked_tokens WHERE expires_at < $1 LIMIT 500)",
                ago(KEPT_SECONDS),
            ),
            (
                "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 LIMIT 500)",
                ago(audit_seconds),
            ),
            (
                "DELETE FROM refresh_tokens WHERE hash IN (SELECT r.hash FROM refresh_tokens r
                 JOIN sessions s ON s.id = r.session_id
                 WHERE s.expires_at < $1 OR s.revoked_at < $1 LIMIT 500)",
                ago(KEPT_SECONDS),
            ),
        ] {
            self.count(Purpose::Upkeep);
            let end = sqlx::query(statement).bind(before).execute(&self.writer).await?;
            done += end.rows_affected();
        }
        let mut tx = self.begin().await?;
        self.count(Purpose::Upkeep);
        // A session that nobody refreshes can't go on: from now on it is over for the list, too.
        let idle = sqlx::query(
            "UPDATE sessions SET revoked_at = $1, revoked_why = 'idle' WHERE id IN
             (SELECT id FROM sessions WHERE revoked_at IS NULL AND refreshed_at <= $2 LIMIT 100)
             RETURNING id, user_id",
        )
        .bind(seconds(now.0))
        .bind(ago(idle_seconds))
        .fetch_all(&mut *tx)
        .await?;
        self.count(Purpose::Upkeep);
        let gone = sqlx::query(
            "DELETE FROM sessions WHERE id IN (SELECT s.id FROM sessions s
             WHERE (s.expires_at < $1 OR s.revoked_at < $1)
             AND NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.session_id = s.id) LIMIT 100)
             RETURNING id, user_id",
        )
        .bind(ago(KEPT_SECONDS))
        .fetch_all(&mut *tx)
        .await?;
        for row in idle.iter().chain(&gone) {
            let (id, user_id): (String, String) = (row.try_get("id")?, row.try_get("user_id")?);
            self.enqueue(&mut tx, &id, leave(&user_id, &id), now.0).await?;
            done += 1;
        }
        tx.commit().await?;
        Ok(done)
    }

    /// What was revoked after `after`, in the order in which it was.
    pub async fn revoked(
        &self,
        kind: RevokedKind,
        after: &Revoked,
        most: u32,
    ) -> Result<Vec<Revoked>, sqlx::Error> {
        let statement = match kind {
            RevokedKind::Session => {
                "SELECT id AS name, revoked_at AS at FROM sessions WHERE revoked_at IS NOT NULL
                 AND (revoked_at > $1 OR (revoked_at = $1 AND id > $2))
                 ORDER BY revoked_at, id LIMIT $3"
            }
            RevokedKind::Token => {
                "SELECT jti AS name, revoked_at AS at FROM revoked_tokens
                 WHERE revoked_at > $1 OR (revoked_at = $1 AND jti > $2)
                 ORDER BY revoked_at, jti LIMIT $3"
            }
            RevokedKind::User => {
                "SELECT id AS name, disabled_at AS at FROM users WHERE disabled_at IS NOT NULL
                 AND (disabled_at > $1 OR (disabled_at = $1 AND id > $2))
                 ORDER BY disabled_at, id LIMIT $3"
            }
        };
        self.count(Purpose::Upkeep);
        let rows = sqlx::query(statement)
            .bind(seconds(after.at))
            .bind(after.name.as_str())
            .bind(i64::from(most))
            .fetch_all(&self.readers)
            .await?;
        let rows = rows.iter().map(|row| {
            let at: i64 = row.try_get("at")?;
            Ok(Revoked { name: row.try_get("name")?, at: at.unsigned_abs() })
        });
        rows.collect()
    }
}

/// The longest grace that can be set.
const ANSWER_SECONDS_MAX: u64 = 300;
/// How long a session that is over is kept: longer than any token or marker of it lives.
const KEPT_SECONDS: u64 = ACCESS_TOKEN_SECONDS_MAX + 3600;
