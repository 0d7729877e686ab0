//! Authentication: a token is verified once per isolate, by its signature or its provider, and then
//! cached.

use crate::context::RequestContext;
use crate::platform::clock;
use crate::token::cache::{Validity, Verification};
use crate::token::{introspect, key_selection};
use crate::trace::VerdictSource;
use crate::{limits, store};
use portcullis_core::{
    AuthenticatedRequest, Check, Denial, Permit, Refusal, TokenHash, UnverifiedJwt, UnverifiedToken,
};
use std::rc::Rc;

/// Authenticates the request, if its route requires a token.
pub async fn authenticate<'p>(
    check: &Check<'_, 'p>,
    context: &RequestContext,
) -> Result<AuthenticatedRequest<'p>, Refusal> {
    let Some(hash) = check.token_hash() else {
        return Ok(check.without_token()?);
    };
    if let Some(cached) = context.isolate.tokens.get(hash)
        && is_still_valid(&cached.verification, context).await?
    {
        // The time is read here, because there may have been a wait for keys.
        let now_ms = clock::now_ms();
        let cleared = cached.cleared(now_ms);
        let revoked = cached.is_revoked(now_ms);
        context.trace.kid.replace(cached.verification.kid);
        if revoked {
            return Err(Denial::TokenRevoked.into());
        }
        context.trace.verdict_source.set(cleared.map(|_| VerdictSource::Isolate));
        return Ok(check.authenticate(cached.verification.token, cleared, context.now)?);
    }
    limits::check_failure_limit(check, context)?;
    let verification = verify(check, hash, context).await.inspect_err(|refusal| {
        limits::record_failure(check, *refusal, context);
    })?;
    let token = Rc::clone(&verification.token);
    context.isolate.tokens.insert(hash, verification);
    Ok(check.authenticate(token, None, context.now)?)
}

/// Returns whether the issuer still has the key that the token was verified with, or whether its
/// provider's answer is recent enough.
async fn is_still_valid(
    verification: &Verification,
    context: &RequestContext,
) -> Result<bool, Refusal> {
    match verification.validity {
        Validity::Keys(generation) => {
            let issuer = verification.token.issuer();
            Ok(key_selection::generation(issuer, context).await? == generation)
        }
        Validity::Until(until_ms) => Ok(context.now_ms < until_ms),
    }
}

async fn verify(
    check: &Check<'_, '_>,
    hash: TokenHash,
    context: &RequestContext,
) -> Result<Verification, Refusal> {
    match check.unverified_token(context.now)? {
        UnverifiedToken::Jwt(jwt) => verify_signature(check, jwt, context).await,
        UnverifiedToken::Opaque(provider) => {
            introspect::resolve_opaque(check, provider, hash, context).await
        }
    }
}

async fn verify_signature(
    check: &Check<'_, '_>,
    jwt: UnverifiedJwt<'_>,
    context: &RequestContext,
) -> Result<Verification, Refusal> {
    let selected = key_selection::select(jwt.issuer(), jwt.header(), context).await?;
    let (signature, input) = (jwt.signature(), jwt.signing_input());
    let holds = selected.key.verify(&context.port, selected.algorithm, signature, input).await;
    let kid: Option<Rc<str>> = jwt.header().kid.as_deref().filter(|_| holds).map(Rc::from);
    context.trace.kid.replace(kid.clone());
    let token = check.accept_signature(jwt, holds)?;
    Ok(Verification { token, validity: Validity::Keys(selected.generation), kid })
}

/// Caches the store's verdict on a token. A valid one is cached for as long as a revocation may
/// take to be seen, counted from before the query. A revoked one is cached so that its holder can
/// use up neither a quota nor the store.
pub fn remember(
    check: &Check<'_, '_>,
    verdict: &Result<Permit<'_>, Refusal>,
    context: &RequestContext,
) {
    let tokens = &context.isolate.tokens;
    match verdict {
        Ok(permit) if context.policy.revocation_seconds_max > 0 => {
            if let Some((hash, requirement)) = permit.cleared() {
                let bound_ms = u64::from(context.policy.revocation_seconds_max) * 1000;
                tokens.set_cleared(hash, requirement, context.now_ms + bound_ms);
            }
        }
        Err(Refusal::Denied(Denial::TokenRevoked)) => {
            if let Some(hash) = check.token_hash() {
                tokens.set_revoked(hash, context.now_ms + REVOKED_MS);
            }
        }
        Ok(_) | Err(_) => {}
    }
}

/// Writes to the store, after the response and once a minute, that a session was used.
pub fn record_session_seen(permit: &Permit<'_>, context: &RequestContext) {
    let Some((hash, commands)) = permit.touch_session(context.now) else {
        return;
    };
    if context.isolate.tokens.is_seen_due(hash, context.now_ms)
        && context.store_failure.get().is_none()
    {
        context.spawn(|context| async move {
            store::write(&commands, &context).await;
        });
    }
}

/// How long a revoked token is rejected without another query. A marker that is deleted counts
/// after that.
const REVOKED_MS: u64 = 5000;
