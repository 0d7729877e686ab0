//! The sessions of operators in the console.

use super::clients::time;
use super::pool::{Db, Purpose, Tx, to_i64};
use super::users::User;
use crate::audit::Event;
use portcullis_core::UnixSeconds;
use sqlx::Row as _;

/// A session in the console whose user is enabled.
#[derive(Clone)]
pub struct ConsoleSession {
    pub user_id: String,
    pub username: String,
    /// The current scope of the user.
    pub scope: String,
    /// When a request was last seen, at most a minute too early.
    pub seen_at: u64,
    pub ends_at: u64,
}

/// A login to the console whose password was verified.
pub struct NewConsoleSession<'a> {
    pub user: &'a User,
    /// The new hash of the password, if the parameters of the old one are outdated.
    pub rehashed: Option<&'a str>,
    /// The hash of the session's cookie.
    pub hash: &'a str,
    pub ends_at: UnixSeconds,
    /// The hash of the session that the same browser had before.
    pub replaces: Option<&'a str>,
}

impl Db {
    /// Begins a session in the console, and ends the least recently used ones beyond a maximum.
    /// Returns `false`, and writes nothing, if the user's password or scope has changed since it
    /// was verified, or the user is disabled.
    pub async fn begin_console_session(
        &self,
        new: &NewConsoleSession<'_>,
        events: &[Event],
        now: UnixSeconds,
    ) -> Result<bool, sqlx::Error> {
        let NewConsoleSession { user, rehashed, hash, ends_at, replaces } = *new;
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        // This locks the user's row. A concurrent change of the password waits, or has committed
        // before.
        let updated = sqlx::query(
            "UPDATE users SET password_hash = $1
             WHERE id = $2 AND password_hash = $3 AND scope = $4 AND disabled_at IS NULL",
        )
        .bind(rehashed.unwrap_or(&user.password_hash))
        .bind(user.id.as_str())
        .bind(user.password_hash.as_str())
        .bind(user.scope.as_str())
        .execute(&mut *tx)
        .await?;
        if updated.rows_affected() == 0 {
            return Ok(false);
        }
        self.count(Purpose::Request);
        sqlx::query("DELETE FROM console_sessions WHERE hash = $1")
            .bind(replaces.unwrap_or_default())
            .execute(&mut *tx)
            .await?;
        self.count(Purpose::Request);
        sqlx::query(
            "DELETE FROM console_sessions WHERE hash IN (SELECT hash FROM console_sessions
             WHERE user_id = $1 ORDER BY seen_at DESC, hash LIMIT 1000 OFFSET $2)",
        )
        .bind(user.id.as_str())
        .bind(OTHERS_PER_USER_MAX)
        .execute(&mut *tx)
        .await?;
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO console_sessions (hash, user_id, created_at, seen_at, ends_at)
             VALUES ($1, $2, $3, $3, $4)",
        )
        .bind(hash)
        .bind(user.id.as_str())
        .bind(to_i64(now.0))
        .bind(to_i64(ends_at.0))
        .execute(&mut *tx)
        .await?;
        self.append_events(&mut tx, events, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Returns the session in the console with the hash of its cookie, unless its user is disabled
    /// or deleted.
    pub async fn console_session(&self, hash: &str) -> Result<Option<ConsoleSession>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT c.user_id, c.seen_at, c.ends_at, u.username, u.scope
             FROM console_sessions c JOIN users u ON u.id = c.user_id
             WHERE c.hash = $1 AND u.disabled_at IS NULL AND u.deleted_at IS NULL",
        )
        .bind(hash)
        .fetch_optional(&self.readers)
        .await?;
        let read = |row: sqlx::any::AnyRow| {
            Ok(ConsoleSession {
                user_id: row.try_get("user_id")?,
                username: row.try_get("username")?,
                scope: row.try_get("scope")?,
                seen_at: time(&row, "seen_at")?.unwrap_or_default(),
                ends_at: time(&row, "ends_at")?.unwrap_or_default(),
            })
        };
        row.map(read).transpose()
    }

    /// Notes that a session in the console was used.
    pub async fn touch_console_session(
        &self,
        hash: &str,
        now: UnixSeconds,
    ) -> Result<(), sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query("UPDATE console_sessions SET seen_at = $1 WHERE hash = $2 AND seen_at < $1")
            .bind(to_i64(now.0))
            .bind(hash)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    /// Ends a session in the console. Returns whether it was there.
    pub async fn end_console_session(
        &self,
        hash: &str,
        events: &[Event],
        now: UnixSeconds,
    ) -> Result<bool, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        let deleted = sqlx::query("DELETE FROM console_sessions WHERE hash = $1")
            .bind(hash)
            .execute(&mut *tx)
            .await?;
        if deleted.rows_affected() == 0 {
            return Ok(false);
        }
        self.append_events(&mut tx, events, now).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Returns whether a user has sessions in the console.
    pub(super) async fn has_console_sessions(
        &self,
        tx: &mut Tx,
        user_id: &str,
    ) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query("SELECT COUNT(*) AS number FROM console_sessions WHERE user_id = $1")
            .bind(user_id)
            .fetch_one(&mut **tx)
            .await?;
        Ok(row.try_get::<i64, _>("number")? > 0)
    }

    /// Ends all sessions of a user in the console, in the transaction of another change.
    pub(super) async fn end_console_sessions(
        &self,
        tx: &mut Tx,
        user_id: &str,
    ) -> Result<(), sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query("DELETE FROM console_sessions WHERE user_id = $1")
            .bind(user_id)
            .execute(&mut **tx)
            .await?;
        Ok(())
    }
}

/// With a new one, a user has at most 20 sessions in the console.
const OTHERS_PER_USER_MAX: i64 = 19;
