//! Issues tokens.

use super::service::Sessions;
use super::stored_response::StoredResponse;
use super::tokens::Tokens;
use crate::config::AccessTokenFormat;
use crate::db::{IssuedTokens, Session};
use crate::outbox::IssuedAccessToken;
use crate::problem::Problem;
use crate::random::{nonce, random_id};
use crate::token::{AccessClaims, OpaqueToken, token_hash};
use portcullis_core::{ReplayKey, UnixSeconds};
use serde_json::Map;

/// The refresh token under which a response is stored.
pub struct ReplaySeal<'a> {
    pub key: &'a ReplayKey,
    pub refresh_hash: &'a str,
}

impl Sessions {
    /// Issues a new pair of tokens. With `replay`, the response is stored for the grace period.
    pub(super) fn issue(
        &self,
        session: &Session,
        scope: String,
        replay: Option<&ReplaySeal<'_>>,
        now: UnixSeconds,
    ) -> Result<(Tokens, IssuedTokens), Problem> {
        // A token must not outlive its session.
        let session_seconds = session.expires_at.saturating_sub(now.0);
        let access_token_seconds = self.config.access_token_seconds.min(session_seconds);
        let claims = AccessClaims {
            iss: self.config.store.issuer.clone(),
            sub: session.user_id.clone(),
            aud: self.config.audience.clone(),
            exp: now.plus(access_token_seconds).0,
            iat: now.0,
            jti: random_id(),
            sid: Some(session.id.clone()),
            client_id: session.client_id.clone(),
            scope,
            others: Map::new(),
        };
        let access_token = match self.config.access_token_format {
            AccessTokenFormat::Jwt => self.keys.key_set().sign(&claims, now).ok_or_else(|| {
                tracing::error!(event = "signing_failed");
                Problem::Internal
            })?,
            AccessTokenFormat::Opaque => OpaqueToken::Access.generate(),
        };
        let tokens = Tokens {
            access_token,
            token_type: "Bearer".to_owned(),
            expires_in: access_token_seconds,
            refresh_token: OpaqueToken::Refresh.generate(),
            scope: claims.scope.clone(),
            session_seconds,
        };
        let replay = replay.filter(|_| self.config.refresh_grace_seconds > 0);
        let answer = replay.and_then(|replay| {
            let response = StoredResponse::new(&tokens, now).encode();
            replay.key.seal(&response, replay.refresh_hash, nonce())
        });
        let access_hash = token_hash(&tokens.access_token);
        let issued = IssuedAccessToken {
            session,
            claims: &claims,
            access_hash: &access_hash,
            seal: self.config.seal.as_ref(),
        };
        let issued = IssuedTokens {
            refresh_hash: token_hash(&tokens.refresh_token),
            access_expires_at: claims.exp,
            access_jti: claims.jti.clone(),
            access_scope: claims.scope.clone(),
            answer,
            commands: self.publisher.commands().access_token_issued(&issued, now),
            access_hash,
        };
        Ok((tokens, issued))
    }
}
