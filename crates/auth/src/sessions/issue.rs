//! Issues tokens.

use super::client_grant::issued_after;
use super::service::Sessions;
use super::stored_response::StoredResponse;
use super::tokens::Tokens;
use crate::db::{IssuedTokens, Session, TokenHolder};
use crate::outbox::IssuedAccessToken;
use crate::problem::Problem;
use crate::random::{nonce, random_id};
use crate::token::{AccessClaims, OpaqueToken, token_hash};
use portcullis_core::{ReplayKey, UnixSeconds};

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
        holder: &TokenHolder,
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
            iat: issued_after(holder.tokens_revoked_at, now),
            jti: random_id(),
            sid: Some(session.id.clone()),
            client_id: session.client_id.clone(),
            scope,
            others: holder.claims.members().clone(),
        };
        let access_token = self.encode_access_token(&claims, now)?;
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
            let response = StoredResponse::new(&tokens, &session.scope, now).encode();
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
            access_issued_at: claims.iat,
            access_expires_at: claims.exp,
            access_jti: claims.jti.clone(),
            access_scope: claims.scope.clone(),
            access_claims: self.stored_claims(&claims),
            answer,
            commands: self.publisher.commands().access_token_issued(&issued, now),
            access_hash,
        };
        Ok((tokens, issued))
    }
}
