//! Ends sessions, and revokes single access tokens.

use super::seconds_before;
use crate::db::audit::AuditedChange;
use crate::db::outbox::OutboxRow;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use crate::token::ACCESS_TOKEN_SECONDS_MAX;
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;

/// A selection of sessions.
#[derive(Clone, Copy)]
pub enum SessionSelector<'a> {
    /// The session with this id.
    One(&'a str),
    /// All sessions of a user, except one.
    OfUser { user_id: &'a str, except: Option<&'a str> },
}

/// A session that has ended.
#[derive(Clone, Debug)]
pub struct EndedSession {
    pub id: String,
    pub user_id: String,
    /// The hashes of its access tokens that may not have expired yet.
    pub access_hashes: Vec<String>,
    /// The hashes of its refresh tokens whose responses the edge may have stored.
    pub refresh_hashes: Vec<String>,
    pub outbox_row: OutboxRow,
}

/// An access token to be revoked.
pub struct RevokedToken<'a> {
    pub jti: &'a str,
    pub session_id: &'a str,
    pub expires_at: u64,
}

/// The result of locking a session.
#[derive(Clone, Copy, Eq, PartialEq)]
enum SessionLock {
    Ended,
    Locked,
    Unknown,
}

impl Db {
    /// Ends sessions and returns them; with those of a user also the user's sessions in the
    /// console, which are not returned. Returns `None`, and writes nothing, if all of them had
    /// ended before. `revoke` returns the commands for the store that follow from the end of a
    /// session.
    pub async fn end_sessions(
        &self,
        selector: SessionSelector<'_>,
        reason: &str,
        change: &AuditedChange<'_>,
        revoke: impl Fn(&EndedSession) -> Vec<Command>,
    ) -> Result<Option<Vec<EndedSession>>, sqlx::Error> {
        let mut tx = self.begin().await?;
        let in_console = match selector {
            SessionSelector::One(_) => false,
            SessionSelector::OfUser { user_id, .. } => {
                self.has_console_sessions(&mut tx, user_id).await?
            }
        };
        let ended = self.end_in(&mut tx, selector, reason, change.now, &revoke).await?;
        if ended.is_empty() && !in_console {
            tx.rollback().await?;
            return Ok(None);
        }
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(Some(ended))
    }

    /// Revokes one access token. Returns `None`, and writes nothing, if the token was revoked
    /// before or its session has ended. Undelivered outbox rows of an active session are discarded,
    /// since they may contain the token's record.
    pub async fn revoke_access_token(
        &self,
        token: &RevokedToken<'_>,
        commands: Vec<Command>,
        change: &AuditedChange<'_>,
    ) -> Result<Option<OutboxRow>, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        let inserted = sqlx::query(
            "INSERT INTO revoked_tokens (jti, revoked_at, expires_at) SELECT $1, $2, $3
             WHERE NOT EXISTS
             (SELECT 1 FROM sessions WHERE id = $4 AND revoked_at IS NOT NULL)
             ON CONFLICT (jti) DO NOTHING",
        )
        .bind(token.jti)
        .bind(to_i64(change.now.0))
        .bind(to_i64(token.expires_at))
        .bind(token.session_id)
        .execute(&mut *tx)
        .await?;
        let is_new = inserted.rows_affected() == 1;
        if !is_new || self.lock_session(&mut tx, token.session_id).await? == SessionLock::Ended {
            tx.rollback().await?;
            return Ok(None);
        }
        self.discard_outbox_rows(&mut tx, token.session_id).await?;
        let row = self.enqueue(&mut tx, token.jti, commands, change.now).await?;
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(Some(row))
    }

    /// Locks the row of an active session, so that it can't end before the transaction does.
    async fn lock_session(&self, tx: &mut Tx, id: &str) -> Result<SessionLock, sqlx::Error> {
        self.count(Purpose::Request);
        let update = "UPDATE sessions SET revoked_at = NULL WHERE id = $1 AND revoked_at IS NULL";
        if sqlx::query(update).bind(id).execute(&mut **tx).await?.rows_affected() == 1 {
            return Ok(SessionLock::Locked);
        }
        self.count(Purpose::Request);
        let row = sqlx::query("SELECT id FROM sessions WHERE id = $1").bind(id);
        let row = row.fetch_optional(&mut **tx).await?;
        Ok(row.map_or(SessionLock::Unknown, |_| SessionLock::Ended))
    }

    /// Ends active sessions in the transaction of another change, and returns them.
    pub(crate) async fn end_in(
        &self,
        tx: &mut Tx,
        selector: SessionSelector<'_>,
        reason: &str,
        now: UnixSeconds,
        revoke: &impl Fn(&EndedSession) -> Vec<Command>,
    ) -> Result<Vec<EndedSession>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = match selector {
            SessionSelector::One(id) => {
                let update = sqlx::query(
                    "UPDATE sessions SET revoked_at = $1, revoked_why = $2
                     WHERE id = $3 AND revoked_at IS NULL RETURNING id, user_id",
                );
                update.bind(to_i64(now.0)).bind(reason).bind(id).fetch_all(&mut **tx).await?
            }
            SessionSelector::OfUser { user_id, except } => {
                // A change of several sessions locks the user's row first, to prevent deadlocks.
                self.count(Purpose::Request);
                sqlx::query("UPDATE users SET disabled_at = disabled_at WHERE id = $1")
                    .bind(user_id)
                    .execute(&mut **tx)
                    .await?;
                let update = sqlx::query(
                    "UPDATE sessions SET revoked_at = $1, revoked_why = $2
                     WHERE user_id = $3 AND revoked_at IS NULL AND id <> $4 RETURNING id, user_id",
                );
                self.end_console_sessions(tx, user_id).await?;
                let update = update.bind(to_i64(now.0)).bind(reason).bind(user_id);
                update.bind(except.unwrap_or_default()).fetch_all(&mut **tx).await?
            }
        };
        let mut sessions = Vec::new();
        for row in rows {
            let (id, user_id): (String, String) = (row.try_get("id")?, row.try_get("user_id")?);
            self.count(Purpose::Request);
            let tokens = sqlx::query(
                "SELECT hash, access_hash FROM refresh_tokens
                 WHERE session_id = $1 AND created_at > $2 ORDER BY created_at DESC LIMIT $3",
            )
            .bind(id.as_str())
            .bind(seconds_before(now, ACCESS_TOKEN_SECONDS_MAX))
            .bind(TOKENS_PER_SESSION_MAX)
            .fetch_all(&mut **tx)
            .await?;
            let hashes = |name| {
                let hashes = tokens.iter().map(|row| row.try_get::<Option<String>, _>(name));
                hashes.filter_map(Result::transpose).collect::<Result<Vec<String>, _>>()
            };
            let mut ended = EndedSession {
                id,
                user_id,
                access_hashes: hashes("access_hash")?,
                refresh_hashes: hashes("hash")?,
                outbox_row: OutboxRow::default(),
            };
            self.discard_outbox_rows(tx, &ended.id).await?;
            ended.outbox_row = self.enqueue(tx, &ended.id, revoke(&ended), now).await?;
            sessions.push(ended);
        }
        Ok(sessions)
    }
}

/// How many recent tokens of an ended session are deleted from the store one by one. The session's
/// revocation marker covers the others.
const TOKENS_PER_SESSION_MAX: i64 = 100;
