//! What is done beside requests: what has ended is deleted, and what the store must know is read again.

use super::{Db, Purpose, seconds};
use crate::token::ACCESS_TOKEN_SECONDS_MAX;
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
    /// Deletes one batch of what has ended; how much that was. Sessions that ran out are told to the store, in
    /// whose list they would stay. Each statement is a short transaction of its own, so that no writer waits for long,
    /// and one that fails stops no other.
    pub async fn clean(
        &self,
        now: UnixSeconds,
        idle_seconds: u64,
        audit_seconds: u64,
        leave: impl Fn(&str, &str) -> Vec<Command>,
    ) -> Result<u64, sqlx::Error> {
        let ago = |age: u64| seconds(now.0.saturating_sub(age));
        let (mut done, mut failed) = (0, None);
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
                // The database's clock has a word here, too.
                ago(audit_seconds + CLOCKS_SECONDS),
            ),
            // The sessions first, and then their tokens: there are many of those, and no index says which have ended.
            (
                "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens
                 WHERE session_id IN (SELECT id FROM sessions WHERE expires_at < $1 LIMIT 100)
                 LIMIT 500)",
                ago(KEPT_SECONDS),
            ),
            (
                "DELETE FROM refresh_tokens WHERE hash IN (SELECT hash FROM refresh_tokens
                 WHERE session_id IN (SELECT id FROM sessions WHERE revoked_at < $1 LIMIT 100)
                 LIMIT 500)",
                ago(KEPT_SECONDS),
            ),
        ] {
            self.count(Purpose::Upkeep);
            match sqlx::query(statement).bind(before).execute(&self.writer).await {
                Ok(end) => done += end.rows_affected(),
                Err(error) => failed = Some(error),
            }
        }
        // A session that nobody refreshes can't go on: from now on it is over for the list, too.
        let idle = "UPDATE sessions SET revoked_at = $1, revoked_why = 'idle' WHERE id IN
             (SELECT id FROM sessions WHERE revoked_at IS NULL AND refreshed_at <= $2 LIMIT 100)
             RETURNING id, user_id";
        let ran_out = "DELETE FROM sessions WHERE id IN (SELECT s.id FROM sessions s
             WHERE s.expires_at < $2 AND $1 > 0
             AND NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.session_id = s.id) LIMIT 100)
             RETURNING id, user_id";
        let revoked = "DELETE FROM sessions WHERE id IN (SELECT s.id FROM sessions s
             WHERE s.revoked_at < $2 AND $1 > 0
             AND NOT EXISTS (SELECT 1 FROM refresh_tokens r WHERE r.session_id = s.id) LIMIT 100)
             RETURNING id, user_id";
        for (statement, before, tells) in [
            (idle, ago(idle_seconds), true),
            (ran_out, ago(KEPT_SECONDS), true),
            (revoked, ago(KEPT_SECONDS), false),
        ] {
            match self.clean_sessions(statement, before, now, tells.then_some(&leave)).await {
                Ok(gone) => done += gone,
                Err(error) => failed = Some(error),
            }
        }
        match (done, failed) {
            (0, Some(error)) => Err(error),
            (done, _) => Ok(done),
        }
    }

    async fn clean_sessions(
        &self,
        statement: &'static str,
        before: i64,
        now: UnixSeconds,
        leave: Option<&impl Fn(&str, &str) -> Vec<Command>>,
    ) -> Result<u64, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Upkeep);
        let gone =
            sqlx::query(statement).bind(seconds(now.0)).bind(before).fetch_all(&mut *tx).await?;
        let mut commands = Vec::new();
        for row in &gone {
            let (id, user_id): (String, String) = (row.try_get("id")?, row.try_get("user_id")?);
            commands.extend(leave.map(|leave| leave(&user_id, &id)).unwrap_or_default());
        }
        if !commands.is_empty() {
            self.enqueue(&mut tx, "", commands, now.0).await?;
        }
        tx.commit().await?;
        Ok(gone.len() as u64)
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
/// How far the clocks of this service and of its database may differ.
const CLOCKS_SECONDS: u64 = 3600;
/// How long a session that is over is kept: longer than any token or marker of it lives.
const KEPT_SECONDS: u64 = ACCESS_TOKEN_SECONDS_MAX + 3600;
