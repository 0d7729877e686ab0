//! The introspection of access tokens.

use super::service::Sessions;
use crate::api_keys::is_api_key;
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::custom_claims::CustomClaims;
use crate::problem::Problem;
use crate::steps::database;
use crate::token::{AccessClaims, OpaqueToken, token_hash};
use portcullis_core::UnixSeconds;
use tracing::Instrument as _;

impl Sessions {
    /// Authenticates a client that introspects tokens, by its name and secret. Records a failure as
    /// a security event at most once a minute for each client.
    pub async fn authenticate_client(
        &self,
        credentials: Option<(String, String)>,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<(), Problem> {
        let (name, secret) = credentials.unwrap_or_default();
        let clients = &self.config.introspection_clients;
        if clients.authenticates(&name, &secret) {
            return Ok(());
        }
        let known = clients.is_known(&name).then_some(name.as_str());
        if let Some(failures) = self.failed_clients.count(known, now) {
            // Only a known name is recorded. A client may have sent its secret in place of its
            // name.
            let detail = format!("{}: {failures} failed", known.unwrap_or("unknown clients"));
            let event = Event::new(EventKind::IntrospectionDenied, Actor::Client, client);
            let events = [event.detail(detail)];
            self.db.record_events(&events, now).await?;
            self.audit.record(&events);
        }
        Err(Problem::ClientInvalid)
    }

    /// Returns the claims of an access token; `None` if the token is unknown, expired or revoked,
    /// or its session has ended.
    pub async fn introspect(
        &self,
        access_token: &str,
        now: UnixSeconds,
    ) -> Result<Option<AccessClaims>, Problem> {
        let claims = self.claims(access_token).await?.filter(|claims| claims.exp > now.0);
        let Some(claims) = claims else { return Ok(None) };
        let idle_seconds = self.config.refresh_idle_seconds;
        let (jti, issued_at) = (&claims.jti, claims.iat);
        let is_active = match &claims.sid {
            Some(sid) => {
                let active = self.db.is_token_active(sid, jti, issued_at, now, idle_seconds);
                active.instrument(database("is_token_active")).await?
            }
            None => {
                let active = self.db.is_client_token_active(&claims.sub, jti, issued_at);
                active.instrument(database("is_client_token_active")).await?
            }
        };
        Ok(is_active.then_some(claims))
    }

    /// Returns the claims of an active access token.
    pub async fn authenticate(
        &self,
        access_token: &str,
        now: UnixSeconds,
    ) -> Result<AccessClaims, Problem> {
        if is_api_key(access_token) {
            return Err(Problem::ApiKeyNotAccepted);
        }
        self.introspect(access_token, now).await?.ok_or(Problem::AccessTokenInvalid)
    }

    /// Returns the claims of an access token of this service, which may be expired or revoked.
    pub(super) async fn claims(&self, access_token: &str) -> Result<Option<AccessClaims>, Problem> {
        let (issuer, audience) = (&self.config.store.issuer, &self.config.audience);
        if !OpaqueToken::Access.is_well_formed(access_token) {
            return Ok(self.keys.key_set().verify(access_token, issuer, audience));
        }
        let hash = token_hash(access_token);
        let custom = |text: Option<String>| CustomClaims::decode(text.as_deref()).members().clone();
        let stored = self.db.access_token_by_hash(&hash);
        let stored = stored.instrument(database("access_token_by_hash")).await?;
        if let Some(stored) = stored {
            return Ok(Some(AccessClaims {
                iss: issuer.clone(),
                sub: stored.session.user_id,
                aud: audience.clone(),
                exp: stored.expires_at,
                iat: stored.issued_at,
                jti: stored.jti,
                sid: Some(stored.session.id),
                client_id: stored.session.client_id,
                scope: stored.scope,
                others: custom(stored.claims),
            }));
        }
        let stored = self.db.client_token_by_hash(&hash);
        let stored = stored.instrument(database("client_token_by_hash")).await?;
        Ok(stored.map(|stored| AccessClaims {
            iss: issuer.clone(),
            sub: stored.client_id.clone(),
            aud: audience.clone(),
            exp: stored.expires_at,
            iat: stored.issued_at,
            jti: stored.jti,
            sid: None,
            client_id: stored.client_id,
            scope: stored.scope,
            others: custom(stored.claims),
        }))
    }
}
