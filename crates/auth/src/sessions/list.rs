//! Lists a user's sessions.

use super::service::Sessions;
use crate::problem::Problem;
use portcullis_core::UnixSeconds;
use serde::Serialize;

/// A session, as shown to its user.
#[derive(Serialize)]
pub struct SessionInfo {
    pub id: String,
    pub created_at: u64,
    pub last_seen_at: u64,
    pub expires_at: u64,
    pub device: String,
    pub address: String,
    /// Whether the request belongs to this session.
    pub current: bool,
}

impl Sessions {
    /// Returns the active sessions of the access token's user.
    pub async fn list(
        &self,
        access_token: &str,
        now: UnixSeconds,
    ) -> Result<Vec<SessionInfo>, Problem> {
        let claims = self.authenticate(access_token, now).await?;
        let idle_seconds = self.config.refresh_idle_seconds;
        let sessions = self.db.active_sessions(&claims.sub, now, idle_seconds).await?;
        let ids: Vec<&str> = sessions.iter().map(|session| session.id.as_str()).collect();
        let last_seen = self.publisher.last_seen(&ids).await;
        let infos = sessions.into_iter().zip(last_seen).map(|(session, last_seen)| SessionInfo {
            current: Some(&session.id) == claims.sid.as_ref(),
            last_seen_at: last_seen.unwrap_or(0).max(session.refreshed_at),
            id: session.id,
            created_at: session.created_at,
            expires_at: session.expires_at,
            device: session.device,
            address: session.address,
        });
        Ok(infos.collect())
    }
}
