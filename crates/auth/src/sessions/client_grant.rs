//! The access tokens of clients that act for themselves (RFC 6749 section 4.4).

use super::scope::narrow_scope;
use super::service::Sessions;
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::clients::{Assertion, AuthMethod, OAuthClient, UsedAssertion, is_client_id};
use crate::config::AccessTokenFormat;
use crate::db::{ClientGrant, NewClientToken, UsedCredential};
use crate::outbox::IssuedClientToken;
use crate::problem::Problem;
use crate::random::random_id;
use crate::steps::database;
use crate::token::{AccessClaims, OpaqueToken, token_hash};
use portcullis_core::UnixSeconds;
use serde::Serialize;
use std::fmt;
use subtle::{Choice, ConstantTimeEq as _};
use tracing::Instrument as _;

/// What a client proves itself by.
pub enum ClientCredential {
    /// `client_secret_basic` and `client_secret_post`.
    Secret { client_id: String, secret: String },
    /// `private_key_jwt`; the request may name the client, too.
    Assertion { client_id: Option<String>, assertion: String },
}

/// The token response of a client (RFC 6749 section 4.4.3): without a refresh token.
#[derive(Serialize)]
pub struct ClientToken {
    pub access_token: String,
    pub token_type: &'static str,
    pub expires_in: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
}

impl fmt::Debug for ClientToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientToken({:?}, REDACTED)", self.scope)
    }
}

/// Why a client is refused, and which one, if it exists.
struct Denied<'a> {
    known: Option<&'a str>,
    reason: &'static str,
}

impl Sessions {
    /// Issues an access token to a client. `scope` may narrow the client's own.
    pub async fn client_credentials(
        &self,
        credential: &ClientCredential,
        scope: Option<&str>,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<ClientToken, Problem> {
        let (own, used) = match credential {
            ClientCredential::Secret { client_id, secret } => {
                let own = self.client_by_secret(client_id, secret, client, now).await?;
                (own, UsedCredential::Secret(token_hash(secret)))
            }
            ClientCredential::Assertion { client_id, assertion } => {
                let named = client_id.as_deref();
                let (own, used) = self.client_by_assertion(named, assertion, client, now).await?;
                (own, UsedCredential::Assertion(used))
            }
        };
        self.issue_to_authenticated(&own, &used, scope, client, now).await
    }

    /// Issues an access token to a client that has authenticated.
    pub(super) async fn issue_to_authenticated(
        &self,
        own: &OAuthClient,
        used: &UsedCredential,
        scope: Option<&str>,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<ClientToken, Problem> {
        let mut token = None;
        let issue = |own: &OAuthClient| {
            let scope = narrow_scope(&own.scope, scope)?;
            let (response, row) = self.issue_to_client(own, scope, now)?;
            token = Some(response);
            Ok(row)
        };
        let granted = self.db.issue_client_token(own, used, now, issue);
        let granted = granted.instrument(database("issue_client_token")).await?;
        let denied = |reason| Denied { known: Some(&own.id), reason };
        match granted {
            ClientGrant::Issued(row) => {
                self.publisher.deliver(vec![row]).await;
                token.ok_or(Problem::Internal)
            }
            ClientGrant::Refused(problem) => Err(problem),
            ClientGrant::Replayed => {
                Err(self.deny(denied("assertion_replayed"), client, now).await?)
            }
            ClientGrant::Ended => Err(self.deny(denied("client_disabled"), client, now).await?),
            ClientGrant::Changed => Err(self.deny(denied("client_changed"), client, now).await?),
        }
    }

    /// Returns the enabled client with this id and secret. Takes the same time for an unknown
    /// client and a wrong secret. Secrets that were never issued need no query.
    async fn client_by_secret(
        &self,
        id: &str,
        secret: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<OAuthClient, Problem> {
        if !is_client_id(id) || !OpaqueToken::ClientSecret.is_well_formed(secret) {
            let denied = Denied { known: None, reason: "credentials_malformed" };
            return Err(self.deny(denied, client, now).await?);
        }
        let hash = token_hash(secret);
        let valid = self.db.client_secret_hashes(id, now);
        let valid = valid.instrument(database("client_secret_hashes")).await?;
        let own = self.db.client_by_id(id).instrument(database("client_by_id")).await?;
        let matches = valid.iter().fold(Choice::from(0), |matches, valid| {
            matches | valid.as_bytes().ct_eq(hash.as_bytes())
        });
        let known = own.is_some();
        let is_usable = |own: &OAuthClient| {
            own.disabled_at.is_none() && own.auth_method == AuthMethod::ClientSecret
        };
        match own.filter(is_usable) {
            Some(own) if bool::from(matches) => Ok(own),
            Some(_) | None => {
                let denied = Denied { known: known.then_some(id), reason: "secret_wrong" };
                Err(self.deny(denied, client, now).await?)
            }
        }
    }

    /// Returns the enabled client that signed an assertion.
    async fn client_by_assertion(
        &self,
        named: Option<&str>,
        text: &str,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<(OAuthClient, UsedAssertion), Problem> {
        let (id, assertion) = match self.parse_assertion(named, text) {
            Ok(parsed) => parsed,
            Err(reason) => {
                let denied = Denied { known: None, reason };
                return Err(self.deny(denied, client, now).await?);
            }
        };
        let Some(own) = self.db.client_by_id(&id).await? else {
            let denied = Denied { known: None, reason: "client_unknown" };
            return Err(self.deny(denied, client, now).await?);
        };
        let issuer = &self.config.store.issuer;
        let audiences = [issuer.clone(), format!("{issuer}/oauth/token")];
        let reason = match assertion.verify(&own, &audiences, now) {
            Ok(used) if own.disabled_at.is_none() => return Ok((own, used)),
            Ok(_) => "client_disabled",
            Err(error) => error.name(),
        };
        Err(self.deny(Denied { known: Some(&id), reason }, client, now).await?)
    }

    /// Returns an assertion of well-formed claims, and the client that it claims to be of.
    fn parse_assertion<'a>(
        &self,
        named: Option<&str>,
        text: &'a str,
    ) -> Result<(String, Assertion<'a>), &'static str> {
        let assertion = Assertion::parse(text).map_err(|error| error.name())?;
        let id = assertion.client_id().map_err(|error| error.name())?.to_owned();
        if !is_client_id(&id) || named.is_some_and(|named| named != id) {
            return Err("assertion_client");
        }
        Ok((id, assertion))
    }

    fn issue_to_client(
        &self,
        own: &OAuthClient,
        scope: String,
        now: UnixSeconds,
    ) -> Result<(ClientToken, NewClientToken), Problem> {
        let seconds = own.token_seconds.unwrap_or(self.config.access_token_seconds);
        let claims = AccessClaims {
            iss: self.config.store.issuer.clone(),
            sub: own.id.clone(),
            aud: self.config.audience.clone(),
            exp: now.plus(seconds).0,
            iat: issued_after(own.tokens_revoked_at, now),
            jti: random_id(),
            sid: None,
            client_id: own.id.clone(),
            scope,
            others: own.token_claims(),
        };
        let access_token = self.encode_access_token(&claims, now)?;
        let hash = token_hash(&access_token);
        let issued = IssuedClientToken {
            claims: &claims,
            access_hash: &hash,
            seal: self.config.seal.as_ref(),
        };
        let row = NewClientToken {
            jti: claims.jti.clone(),
            scope: claims.scope.clone(),
            claims: self.stored_claims(&claims),
            issued_at: claims.iat,
            expires_at: claims.exp,
            commands: self.publisher.commands().client_token_issued(&issued, now),
            hash,
        };
        let response = ClientToken {
            access_token,
            token_type: "Bearer",
            expires_in: seconds,
            scope: claims.scope,
        };
        Ok((response, row))
    }

    /// Returns an access token with these claims, in the configured format.
    pub(super) fn encode_access_token(
        &self,
        claims: &AccessClaims,
        now: UnixSeconds,
    ) -> Result<String, Problem> {
        match self.config.access_token_format {
            AccessTokenFormat::Jwt => self.keys.key_set().sign(claims, now).ok_or_else(|| {
                tracing::error!(event = "signing_failed");
                Problem::Internal
            }),
            AccessTokenFormat::Opaque => Ok(OpaqueToken::Access.generate()),
        }
    }

    /// Returns the custom claims of a token as its row has them: `None` for a JWT, which carries
    /// them itself.
    pub(super) fn stored_claims(&self, claims: &AccessClaims) -> Option<String> {
        let is_opaque = self.config.access_token_format == AccessTokenFormat::Opaque;
        let others = Some(&claims.others).filter(|others| is_opaque && !others.is_empty());
        others.and_then(|others| serde_json::to_string(others).ok())
    }

    /// Counts a refused client. Records it as a security event at most once a minute for each
    /// client. Unknown ids are not recorded: a client may have sent its secret as its id.
    async fn deny(
        &self,
        denied: Denied<'_>,
        client: &ClientInfo,
        now: UnixSeconds,
    ) -> Result<Problem, Problem> {
        let Denied { known, reason } = denied;
        tracing::debug!(event = "client_refused", client = known, reason);
        if let Some(failures) = self.failed_clients.count(known, now) {
            let name = known.unwrap_or("unknown clients");
            let detail = format!("{name}: {failures} failed, the last one: {reason}");
            let event = Event::new(EventKind::ClientDenied, Actor::Client, client);
            let events = [event.detail(detail)];
            self.db.record_events(&events, now).await?;
            self.audit.record(&events);
        }
        Ok(Problem::ClientInvalid)
    }
}

/// Returns the time of issue of a token: after the last moment up to which earlier tokens are
/// revoked, which may be this very second.
pub fn issued_after(revoked_at: Option<u64>, now: UnixSeconds) -> u64 {
    revoked_at.map_or(now.0, |revoked_at| now.0.max(revoked_at.saturating_add(1)))
}
