//! Decides whether a stored response may be replayed: only if neither its family nor its access
//! token was revoked.

use super::lease::Refresh;
use super::response::CapturedResponse;
use crate::policy::Policy;
use crate::refusal::Refusal;
use crate::time::UnixSeconds;
use crate::token::bearer::Token;
use crate::token::claims::Claims;
use crate::token::jwt::UnverifiedJwt;
use crate::token::revocation;
use crate::token_hash::TokenHash;
use redis_rest::{Command, Reply};

/// The store's entries that record the revocation of an access token.
enum AccessToken {
    /// The token's record, which a revocation deletes.
    Recorded(TokenHash),
    /// The markers for its claims.
    Signed(Box<Claims>),
}

impl CapturedResponse {
    /// Returns the store's commands to run before the response is replayed for `refresh`.
    pub fn revocation_queries(
        &self,
        refresh: &Refresh,
        family: &str,
        policy: &Policy,
        now: UnixSeconds,
    ) -> Vec<Command> {
        let keys = &policy.keys;
        let families = Command::new("MGET").arg(keys.refresh_revoked(family));
        let mut commands = vec![families.arg(keys.refresh_revoked(&refresh.hash))];
        match self.access_token(policy, now) {
            Some(AccessToken::Signed(claims)) => commands.push(revocation::query(keys, &claims)),
            Some(AccessToken::Recorded(hash)) => {
                commands.push(Command::new("GET").arg(keys.token(&hash)));
            }
            None => {}
        }
        commands
    }

    /// Reads the replies to [`CapturedResponse::revocation_queries`]. Returns `None` if the store
    /// failed.
    pub fn is_still_valid(
        &self,
        policy: &Policy,
        now: UnixSeconds,
        replies: &[Reply],
    ) -> Option<bool> {
        let (Reply::Array(families), rest) = replies.split_first()? else { return None };
        if !families.iter().all(|marker| *marker == Reply::Null) {
            return Some(false);
        }
        match (self.access_token(policy, now), rest) {
            (Some(AccessToken::Signed(claims)), [reply]) => {
                match revocation::check(&claims, reply) {
                    Ok(()) => Some(true),
                    Err(Refusal::Denied(_)) => Some(false),
                    Err(Refusal::Misconfigured | Refusal::Out(_)) => None,
                }
            }
            (Some(AccessToken::Recorded(_)), [Reply::Error(_)]) => None,
            (Some(AccessToken::Recorded(_)), [reply]) => Some(reply.as_text().is_some()),
            (None, []) => Some(true),
            _ => None,
        }
    }

    /// Returns the access token in the response; `None` if the store does not record its
    /// revocation.
    fn access_token(&self, policy: &Policy, now: UnixSeconds) -> Option<AccessToken> {
        let text = self.member("access_token")?;
        let token = Token::new(&text);
        if UnverifiedJwt::has_form(token) {
            let parsed = UnverifiedJwt::parse(token, &policy.issuers, &policy.other_claims, now);
            return parsed.ok().map(|jwt| AccessToken::Signed(Box::new(jwt.claims)));
        }
        let mut opaque = policy.issuers.iter().filter(|issuer| issuer.keys.is_none());
        let issuer = opaque.find(|issuer| {
            let introspection = issuer.introspection.as_ref();
            introspection.is_some_and(|own| text.starts_with(&own.token_prefix))
        });
        // An issuer with sessions in the store writes the record before it responds. The tokens of
        // other issuers have no record until their first request.
        issuer.filter(|issuer| issuer.sessions_in_store)?;
        Some(AccessToken::Recorded(token.hash()))
    }
}

#[cfg(test)]
mod tests;
