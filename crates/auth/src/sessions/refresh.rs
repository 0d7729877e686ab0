//! Refreshes.

use super::issue::ReplaySeal;
use super::scope::narrow_scope;
use super::service::Sessions;
use super::stored_response::StoredResponse;
use super::tokens::Tokens;
use crate::audit::ClientInfo;
use crate::db::{EndedSession, RefreshRequest, Rotation, Session, TokenHolder};
use crate::problem::Problem;
use crate::steps::database;
use crate::token::{OpaqueToken, token_hash};
use portcullis_core::{ReplayKey, UnixSeconds};
use tracing::Instrument as _;

impl Sessions {
    /// Exchanges a refresh token for a new pair of tokens. A repeated request within the grace
    /// period returns the same pair. `scope` may narrow the scope of the access token (RFC 6749
    /// section 6).
    ///
    /// Returns the pair even if the store is unavailable. The old token is used up, so an error
    /// would end the session.
    pub async fn refresh(
        &self,
        refresh_token: &str,
        scope: Option<&str>,
        client_id: Option<&str>,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Tokens, Problem> {
        if !OpaqueToken::Refresh.is_well_formed(refresh_token) {
            return Err(Problem::RefreshTokenInvalid);
        }
        let hash = token_hash(refresh_token);
        let replay_key = ReplayKey::derive(refresh_token, "");
        let replay = ReplaySeal { key: &replay_key, refresh_hash: &hash };
        let request = RefreshRequest {
            now,
            idle_seconds: self.config.refresh_idle_seconds,
            grace_seconds: self.config.refresh_grace_seconds,
            client_id,
            client,
        };
        let mut tokens = None;
        let issue = |session: &Session, holder: &TokenHolder| {
            let scope = narrow_scope(&session.scope, scope)?;
            let (new, issued) = self.issue(session, holder, scope, Some(&replay), now)?;
            tokens = Some(new);
            Ok(issued)
        };
        let revoke = |ended: &EndedSession| self.publisher.commands().session_ended(ended, now);
        let rotation = self.db.rotate_refresh_token(&hash, &request, issue, revoke);
        match rotation.instrument(database("rotate_refresh_token")).await? {
            Rotation::Rotated { outbox_row, events } => {
                self.audit.record(&events);
                self.publisher.deliver(vec![outbox_row]).await;
                tokens.ok_or(Problem::Internal)
            }
            Rotation::Replayed { session, answer } => {
                let response = replay_key.open(&answer, &hash);
                let stored = response.and_then(|text| StoredResponse::decode(&text, &session, now));
                let (tokens, granted) = stored.ok_or(Problem::Internal)?;
                let is_same_scope = narrow_scope(&granted, scope)? == tokens.scope;
                tracing::info!(event = "refresh_replayed", session = session.id);
                if is_same_scope { Ok(tokens) } else { Err(Problem::ScopeInvalid) }
            }
            Rotation::Reused { session, events } => {
                self.audit.record(&events);
                self.publisher.deliver(vec![session.outbox_row]).await;
                Err(Problem::RefreshTokenReused)
            }
            Rotation::Refused(problem) => Err(problem),
            Rotation::Ended => Err(Problem::SessionEnded),
            Rotation::Unknown => Err(Problem::RefreshTokenInvalid),
        }
    }
}
