//! Authentication. A token is verified once per isolate, by its signature or its provider, and then
//! cached.

use crate::context::RequestContext;
use crate::platform::clock;
use crate::token::cache::{CachedToken, Validity, Verification};
use crate::token::{api_keys, introspect, key_selection};
use crate::trace::VerdictSource;
use crate::{limits, store};
use portcullis_core::{
    AuthenticatedRequest, BlockKind, Check, Denial, Permit, Refusal, RevocationMarker, StoreResult,
    TokenHash, UnverifiedJwt, UnverifiedToken,
};
use std::rc::Rc;

/// Authenticates the request, if its route requires a token: by the isolate's cache, by a
/// signature, or by introspection.
///
/// # Errors
///
/// A denial if the token is missing, malformed or invalid; an outage if its issuer's keys or
/// introspection can't be had.
pub async fn authenticate<'p>(
    check: &Check<'_, 'p>,
    context: &RequestContext,
) -> Result<AuthenticatedRequest<'p>, Refusal> {
    context.clock_steps.set(context.isolate.observe_clock(clock::now_ms()));
    let Some(hash) = check.token_hash() else {
        return Ok(check.without_token()?);
    };
    let cached = context.isolate.tokens.get(hash);
    if let Some(cached) = &cached {
        observe(&cached.verification, context);
        reject_if_revoked(cached, check, context).await?;
    }
    let is_known = cached.is_some();
    let is_known_key = cached.as_ref().is_some_and(|cached| cached.verification.token.is_api_key());
    if let Some(cached) = cached
        && is_still_valid(&cached.verification, context).await?
    {
        // The clock is read here, because the request may have waited for keys.
        let now_ms = clock::now_ms();
        let cleared = cached.cleared(now_ms);
        let bound_ms = u64::from(context.policy.revocation_delay_seconds_max) * 1000;
        context.trace.clearance_age_ms.set(cached.clearance_age_ms(bound_ms, now_ms));
        context.trace.verdict_source.set(cleared.map(|_| VerdictSource::Isolate));
        match check.authenticate(cached.verification.token, cleared, context.now) {
            // The record of the key may have changed. It is read without the limits, because they
            // must not count who may not use the key, but only at a rate.
            Err(Denial::KeyNetworkDenied | Denial::TokenExpired | Denial::TokenNotYetValid)
                if is_known_key && api_keys::admits_reading(hash, context) => {}
            outcome => return Ok(outcome?),
        }
    }
    if !is_known {
        limits::check_failure_limit(check, context)?;
    }
    let work = verify(check, hash, is_known_key, context);
    let verification = work.await.inspect_err(|refusal| {
        limits::record_failure(check, *refusal, context);
        if matches!(refusal, Refusal::Denied(_)) {
            context.isolate.tokens.remove(hash);
        }
    })?;
    observe(&verification, context);
    let token = Rc::clone(&verification.token);
    context.isolate.tokens.insert(hash, verification, context.clock_steps.get());
    let is_new_key = token.is_api_key() && !is_known_key;
    let authenticated = check.authenticate(token, None, context.now)?;
    if is_new_key {
        api_keys::record_genuine(check, context);
    }
    Ok(authenticated)
}

/// Records the token, its subject and the key that verified it, for usage and the log.
fn observe(verification: &Verification, context: &RequestContext) {
    let trace = &context.trace;
    trace.kid.replace(verification.kid.clone());
    trace.token.replace(Some(Rc::clone(&verification.token)));
    let log_subject = context.policy.observability.log_subject;
    trace.subject.replace(verification.token.logged_subject(log_subject));
}

/// Rejects a token that is known to be revoked or blocked. If its marker may have been deleted,
/// queries the store again, before any limit counts the request. If the store fails, the token
/// stays rejected.
async fn reject_if_revoked(
    cached: &CachedToken,
    check: &Check<'_, '_>,
    context: &RequestContext,
) -> Result<(), Refusal> {
    let Some(revocation) = cached.revocation() else {
        return Ok(());
    };
    let (token, tokens) = (&cached.verification.token, &context.isolate.tokens);
    // An expired token is rejected as expired, like any other. The expiry of an API key may change.
    if !token.is_api_key() {
        check.authenticate(Rc::clone(token), None, context.now)?;
    }
    let mut marker = revocation.marker;
    if revocation.is_recheck_due(clock::now_ms()) {
        let results = store::query(&[token.marker_query()], context).await;
        let found = match results.first() {
            Some(StoreResult::Reply(reply)) => token.refusing_marker(reply).ok(),
            _ => None,
        };
        match found {
            Some(None) => {
                tokens.clear_revocation(token.hash());
                return Ok(());
            }
            Some(Some(found)) => {
                marker = found;
                tokens.set_revoked(token.hash(), marker, context.now_ms);
            }
            None => {}
        }
    }
    context.trace.marker.set(Some(marker));
    Err(marker.denial().into())
}

/// Returns whether the verification still holds: the issuer still has the key that verified the
/// token, or the provider's answer is recent enough.
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
    is_known_key: bool,
    context: &RequestContext,
) -> Result<Verification, Refusal> {
    match check.unverified_token(context.now)? {
        UnverifiedToken::ApiKey(key) => {
            api_keys::resolve(check, key, hash, is_known_key, context).await
        }
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
    if !jwt.admits_key_of(selected.issuer.as_deref(), &context.policy.issuers) {
        return Err(Denial::KeyUnknown.into());
    }
    let (signature, input) = (jwt.signature(), jwt.signing_input());
    let holds = selected.key.verify(&context.port, selected.algorithm, signature, input).await;
    let kid: Option<Rc<str>> = jwt.header().kid.as_deref().filter(|_| holds).map(Rc::from);
    context.trace.kid.replace(kid.clone());
    let token = check.accept_signature(jwt, holds)?;
    Ok(Verification { token, validity: Validity::Keys(selected.generation), kid })
}

/// Caches the store's verdict on a token. A valid token is cached for
/// `revocation.delay_seconds_max`, counted from the request's arrival, which is before the query. A
/// revoked token, or that of a blocked caller, is cached so that its holder can use up neither a
/// quota nor the store.
pub fn remember(
    check: &Check<'_, '_>,
    authenticated: &AuthenticatedRequest<'_>,
    results: &[StoreResult],
    verdict: &Result<Permit<'_>, Refusal>,
    context: &RequestContext,
) {
    let tokens = &context.isolate.tokens;
    match verdict {
        Ok(permit) if context.policy.revocation_delay_seconds_max > 0 => {
            if let Some((hash, requirement)) = permit.cleared() {
                let bound_ms = u64::from(context.policy.revocation_delay_seconds_max) * 1000;
                let (until_ms, steps) = (context.now_ms + bound_ms, context.clock_steps.get());
                tokens.set_cleared(hash, requirement, until_ms, steps);
            }
        }
        Err(Refusal::Denied(Denial::Blocked | Denial::TokenRevoked)) => {
            let marker = check.refusing_marker(authenticated, results);
            context.trace.marker.set(marker);
            // Another request with the token may come from another address.
            let about_token =
                marker.filter(|own| *own != RevocationMarker::Block(BlockKind::Address));
            if let (Some(hash), Some(marker)) = (check.token_hash(), about_token) {
                tokens.set_revoked(hash, marker, context.now_ms);
            }
        }
        Ok(_) | Err(_) => {}
    }
}

/// Records in the store that a session was used, after the response and at most once a minute.
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
