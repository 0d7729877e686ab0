//! API keys that the isolate does not know: their records in the store, or else their issuer.

use crate::context::RequestContext;
use crate::store;
use crate::token::cache::{Validity, Verification};
use crate::token::introspect;
use crate::token::introspection_limits::Reason;
use crate::trace::VerdictSource;
use portcullis_core::{
    AuthenticatedRequest, Check, Denial, Outage, Refusal, StoreOutage, StoreResult, TokenHash,
    TokenRecord, UnverifiedKey, VerifiedToken,
};
use redis_rest::{Command, Reply};
use std::rc::Rc;

/// Resolves an API key by its record in the store, or else by its issuer. A key that may be made up
/// costs the store one query within a rate. A rejected one costs nothing for a while.
///
/// # Errors
///
/// A denial if neither store nor issuer knows the key; an outage if they fail, or if the rate is
/// used up.
pub async fn resolve(
    check: &Check<'_, '_>,
    key: UnverifiedKey<'_>,
    hash: TokenHash,
    is_known: bool,
    context: &RequestContext,
) -> Result<Verification, Refusal> {
    let limits = &context.isolate.key_limits;
    let client = client(check);
    let last = limits.last_rejection(hash);
    if !is_known {
        if let Some(rejection) = last.filter(|rejection| context.now_ms < rejection.until_ms) {
            return Err(rejection.denial.into());
        }
        let per_second_max = context.policy.introspections_per_second_max;
        if !limits.admits(Reason::UnknownKey { client }, hash, per_second_max, context.now) {
            return Err(Outage::IntrospectionBusy.into());
        }
    }
    if let Some(opened) = read(check, hash, context).await? {
        context.trace.verdict_source.set(Some(VerdictSource::Store));
        return Ok(verification(check.accept_key(key.issuer, opened)?));
    }
    let Some(provider) = key.provider else {
        limits.set_rejected(hash, last, Denial::TokenInactive, context.now_ms);
        return Err(Denial::TokenInactive.into());
    };
    let reason = match is_known {
        true => Reason::RecordMissing,
        false => Reason::UnknownOpaque { client },
    };
    let record = introspect::introspect(provider, reason, hash, context).await?;
    // The auth service writes the record itself.
    Ok(verification(check.accept_key(key.issuer, (String::new(), Rc::new(record)))?))
}

/// Returns whether the record of a key that the isolate knows may be read again before the verdict.
pub fn admits_reading(hash: TokenHash, context: &RequestContext) -> bool {
    let per_second_max = context.policy.introspections_per_second_max;
    context.isolate.key_limits.admits(Reason::RecordMissing, hash, per_second_max, context.now)
}

/// Records that the client sent a genuine key, which its address may use.
pub fn record_genuine(check: &Check<'_, '_>, context: &RequestContext) {
    context.isolate.key_limits.refund(client(check));
}

/// Returns the client that made-up keys count for; `None` for one that limits do not count.
fn client<'c>(check: &'c Check<'_, '_>) -> Option<&'c str> {
    Some(check.address()).filter(|_| check.is_limited())
}

/// Authenticates the request by the API key as the store or its issuer describes it now. Returns
/// `None` if that is how it was authenticated.
///
/// # Errors
///
/// The denial if the key is no longer valid for this request.
pub fn adopt_change<'p>(
    check: &Check<'_, 'p>,
    authenticated: &AuthenticatedRequest<'_>,
    results: &[StoreResult],
    context: &RequestContext,
) -> Result<Option<AuthenticatedRequest<'p>>, Refusal> {
    let Some(changed) = check.changed_key(authenticated, results) else {
        return Ok(None);
    };
    let token = changed?;
    let steps = context.clock_steps.get();
    context.isolate.tokens.insert(token.hash(), verification(Rc::clone(&token)), steps);
    Ok(Some(check.authenticate(token, None, context.now)?))
}

/// The record is read again with every question to the store, so that the verification itself has
/// no end.
fn verification(token: Rc<VerifiedToken>) -> Verification {
    Verification { token, validity: Validity::Until(u64::MAX), kid: None }
}

/// Reads a key's record from the store. Returns `None` if it is missing or can't be read, or if the
/// store fails and the route leaves the decision to the issuer.
async fn read(
    check: &Check<'_, '_>,
    hash: TokenHash,
    context: &RequestContext,
) -> Result<Option<(String, Rc<TokenRecord>)>, Refusal> {
    let get = Command::new("GET").arg(context.policy.keys.token(&hash));
    match store::query(&[get], context).await.pop() {
        Some(StoreResult::Reply(Reply::Null)) => Ok(None),
        Some(StoreResult::Reply(reply @ (Reply::Bulk(_) | Reply::Status(_)))) => {
            let opened = check.open_key(reply.as_text().unwrap_or_default().to_owned());
            context.trace.record_unopened.set(opened.is_none());
            Ok(opened)
        }
        Some(StoreResult::Out(_)) if check.on_store_outage() == StoreOutage::Introspect => Ok(None),
        Some(StoreResult::Out(outage)) => Err(outage.into()),
        _ => Err(Outage::StoreBadResponse.into()),
    }
}
