//! Queries about sessions and tokens.

use super::{Session, seconds_before};
use crate::db::pool::{Db, Purpose, to_i64};
use portcullis_core::UnixSeconds;
use sqlx::Row as _;

/// An access token, as stored in the database.
pub struct StoredAccessToken {
    pub session: Session,
    pub jti: String,
    pub scope: String,
    /// The custom claims.
    pub claims: Option<String>,
    pub issued_at: u64,
    pub expires_at: u64,
}

impl Db {
    /// Returns the session of a refresh token, even of a used one.
    pub async fn session_by_refresh_token(
        &self,
        refresh_hash: &str,
    ) -> Result<Option<Session>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT s.id, s.user_id, s.client_id, s.scope, s.created_at, s.expires_at,
             s.refreshed_at, s.device, s.address
             FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id WHERE r.hash = $1",
        )
        .bind(refresh_hash)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(Session::read).transpose()
    }

    /// Returns whether a token's session is active, its user enabled, and the token, which was
    /// issued at `issued_at`, not revoked.
    pub async fn is_token_active(
        &self,
        sid: &str,
        jti: &str,
        issued_at: u64,
        now: UnixSeconds,
        idle_seconds: u64,
    ) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT 1 AS one FROM sessions s JOIN users u ON u.id = s.user_id
             WHERE s.id = $1 AND s.revoked_at IS NULL AND s.expires_at > $2 AND s.refreshed_at > $3
             AND u.disabled_at IS NULL
             AND (u.tokens_revoked_at IS NULL OR u.tokens_revoked_at < $5)
             AND NOT EXISTS (SELECT 1 FROM revoked_tokens t WHERE t.jti = $4)",
        )
        .bind(sid)
        .bind(to_i64(now.0))
        .bind(seconds_before(now, idle_seconds))
        .bind(jti)
        .bind(to_i64(issued_at))
        .fetch_optional(&self.readers)
        .await?;
        Ok(row.is_some())
    }

    /// Returns the access token with a hash, even if it is expired or revoked.
    pub async fn access_token_by_hash(
        &self,
        hash: &str,
    ) -> Result<Option<StoredAccessToken>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT s.id, s.user_id, s.client_id, s.scope, s.created_at, s.expires_at,
             s.refreshed_at, s.device, s.address,
             r.access_jti, r.access_scope, r.access_claims, r.access_expires_at,
             COALESCE(r.access_issued_at, r.created_at) AS issued_at
             FROM refresh_tokens r JOIN sessions s ON s.id = r.session_id WHERE r.access_hash = $1",
        )
        .bind(hash)
        .fetch_optional(&self.readers)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let text = |name| row.try_get::<Option<String>, _>(name).map(Option::unwrap_or_default);
        Ok(Some(StoredAccessToken {
            session: Session::read(&row)?,
            jti: text("access_jti")?,
            scope: text("access_scope")?,
            claims: row.try_get("access_claims")?,
            issued_at: row.try_get::<i64, _>("issued_at")?.unsigned_abs(),
            expires_at: row
                .try_get::<Option<i64>, _>("access_expires_at")?
                .map_or(0, i64::unsigned_abs),
        }))
    }

    /// Returns the id of a session's user; `None` if there is no such session.
    pub async fn user_of_session(&self, id: &str) -> Result<Option<String>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query("SELECT user_id FROM sessions WHERE id = $1");
        let row = row.bind(id).fetch_optional(&self.readers).await?;
        row.map(|row| row.try_get("user_id")).transpose()
    }

    /// Returns whether a session is revoked; `None` if it does not exist.
    pub async fn is_session_revoked(&self, id: &str) -> Result<Option<bool>, sqlx::Error> {
        self.count(Purpose::Outbox);
        let row = sqlx::query("SELECT revoked_at FROM sessions WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| Ok(row.try_get::<Option<i64>, _>("revoked_at")?.is_some())).transpose()
    }

    /// Returns the user's active sessions, the most recently used first.
    pub async fn active_sessions(
        &self,
        user_id: &str,
        now: UnixSeconds,
        idle_seconds: u64,
    ) -> Result<Vec<Session>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT id, user_id, client_id, scope, created_at, expires_at, refreshed_at, device,
             address FROM sessions
             WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND refreshed_at > $3
             ORDER BY refreshed_at DESC, created_at DESC LIMIT 1000",
        )
        .bind(user_id)
        .bind(to_i64(now.0))
        .bind(seconds_before(now, idle_seconds))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(Session::read).collect()
    }
}
