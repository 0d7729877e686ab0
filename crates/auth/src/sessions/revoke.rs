//! Revokes sessions and tokens.

use super::service::Sessions;
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::db::{AuditedChange, EndedSession, RevokedToken, SessionSelector};
use crate::outbox::Delivery;
use crate::problem::Problem;
use crate::steps::database;
use crate::token::{OpaqueToken, token_hash};
use portcullis_core::UnixSeconds;
use tracing::Instrument as _;

impl Sessions {
    /// Ends the session of a refresh token. Returns `Err` for an unknown token.
    pub async fn logout(
        &self,
        refresh_token: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        if !OpaqueToken::Refresh.is_well_formed(refresh_token) {
            return Err(Problem::RefreshTokenInvalid);
        }
        let session = self.db.session_by_refresh_token(&token_hash(refresh_token)).await?;
        let session = session.ok_or(Problem::RefreshTokenInvalid)?;
        let event = Event::new(EventKind::Logout, Actor::User, client).user(&session.user_id);
        let event = event.session(&session.id);
        self.end(SessionSelector::One(&session.id), "logout", event, now).await
    }

    /// Ends the session of an access token, which may have expired.
    pub async fn logout_bearer(
        &self,
        access_token: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let claims = self.claims(access_token).await?.ok_or(Problem::AccessTokenInvalid)?;
        let event = Event::new(EventKind::Logout, Actor::User, client).user(&claims.sub);
        let session = claims.session()?;
        self.end(SessionSelector::One(session), "logout", event.session(session), now).await
    }

    /// Ends all sessions of an active access token's user.
    pub async fn logout_everywhere(
        &self,
        access_token: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let claims = self.authenticate(access_token, now).await?;
        let selector = SessionSelector::OfUser { user_id: &claims.sub, except: None };
        let event = Event::new(EventKind::Logout, Actor::User, client).user(&claims.sub);
        self.end(selector, "logout", event.detail("everywhere"), now).await
    }

    /// Ends one session of the access token's user.
    pub async fn remove(
        &self,
        access_token: &str,
        id: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let claims = self.authenticate(access_token, now).await?;
        let idle_seconds = self.config.refresh_idle_seconds;
        let sessions = self.db.active_sessions(&claims.sub, now, idle_seconds).await?;
        if !sessions.iter().any(|session| session.id == id) {
            return Err(Problem::SessionUnknown);
        }
        let event = Event::new(EventKind::SessionRevoked, Actor::User, client).user(&claims.sub);
        self.end(SessionSelector::One(id), "removed", event.session(id), now).await
    }

    /// Ends any session, for an operator.
    pub async fn end_session(
        &self,
        id: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let user = self.db.user_of_session(id).await?.ok_or(Problem::SessionUnknown)?;
        let event = Event::new(EventKind::SessionRevoked, Actor::Operator, client);
        let event = event.user(&user).session(id);
        self.end(SessionSelector::One(id), "operator", event, now).await
    }

    /// Ends all sessions of a user, for an operator.
    pub async fn end_sessions_of(
        &self,
        user_id: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let event = Event::new(EventKind::SessionRevoked, Actor::Operator, client);
        let event = event.user(user_id).detail("all");
        self.end(SessionSelector::OfUser { user_id, except: None }, "operator", event, now).await
    }

    /// Revokes a token (RFC 7009). A refresh token ends its session; an access token is revoked
    /// alone. An unknown token counts as revoked.
    pub async fn revoke(
        &self,
        token: &str,
        client_id: Option<&str>,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let is_other_client = |own: &str| client_id.is_some_and(|client_id| client_id != own);
        let hash = token_hash(token);
        if OpaqueToken::Refresh.is_well_formed(token) {
            let session = self.db.session_by_refresh_token(&hash);
            let session = session.instrument(database("session_by_refresh_token")).await?;
            let Some(session) = session else {
                return Ok(Delivery::Done);
            };
            if is_other_client(&session.client_id) {
                return Err(Problem::ClientMismatch);
            }
            let event = Event::new(EventKind::SessionRevoked, Actor::User, client);
            let event = event.user(&session.user_id).session(&session.id);
            return self.end(SessionSelector::One(&session.id), "revoked", event, now).await;
        }
        let Some(claims) = self.claims(token).await?.filter(|claims| claims.exp > now.0) else {
            return Ok(Delivery::Done);
        };
        if is_other_client(&claims.client_id) {
            return Err(Problem::ClientMismatch);
        }
        let commands = self.publisher.commands().access_token_revoked(&claims.jti, &hash, now);
        let Some(session_id) = &claims.sid else {
            let event = Event::new(EventKind::TokenRevoked, Actor::Client, client);
            let events = [event.detail(claims.client_id)];
            let change = AuditedChange { now, events: &events };
            let revoked = self.db.revoke_client_token(&claims.jti, claims.exp, commands, &change);
            let revoked = revoked.instrument(database("revoke_client_token")).await?;
            let Some(row) = revoked else {
                return Ok(self.publisher.delivery_of(&claims.jti).await?);
            };
            self.audit.record(&events);
            return Ok(self.publisher.deliver(vec![row]).await);
        };
        let event = Event::new(EventKind::TokenRevoked, Actor::User, client);
        let events = [event.user(&claims.sub).session(session_id)];
        let change = AuditedChange { now, events: &events };
        let token = RevokedToken { jti: &claims.jti, session_id, expires_at: claims.exp };
        let revoked = self.db.revoke_access_token(&token, commands, &change);
        let revoked = revoked.instrument(database("revoke_access_token")).await?;
        let Some(row) = revoked else {
            return Ok(match self.publisher.delivery_of(&claims.jti).await? {
                Delivery::Pending => Delivery::Pending,
                Delivery::Done => self.publisher.delivery_of(session_id).await?,
            });
        };
        self.audit.record(&events);
        Ok(self.publisher.deliver(vec![row]).await)
    }

    async fn end(
        &self,
        selector: SessionSelector<'_>,
        reason: &str,
        event: Event,
        now: UnixSeconds,
    ) -> Result<Delivery, Problem> {
        let events = [event];
        let revoke = |ended: &EndedSession| self.publisher.commands().session_ended(ended, now);
        let change = AuditedChange { now, events: &events };
        let ended = self.db.end_sessions(selector, reason, &change, revoke);
        let ended = ended.instrument(database("end_sessions")).await?;
        if ended.is_some() {
            self.audit.record(&events);
        }
        // The store knows no sessions of the console.
        let Some(ended) = ended.filter(|ended| !ended.is_empty()) else {
            return match selector {
                SessionSelector::One(id) => Ok(self.publisher.delivery_of(id).await?),
                SessionSelector::OfUser { user_id, .. } => {
                    Ok(self.publisher.delivery_of_user(user_id).await?)
                }
            };
        };
        Ok(self.publisher.deliver_ended(&ended).await)
    }
}
