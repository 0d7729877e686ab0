//! The part of rate limiting that the isolate does itself: leases, keys known to be over their
//! quota, limits that the store can't count, and the limit of invalid tokens.

pub mod counters;

use crate::context::RequestContext;
use crate::platform::clock;
use counters::Over;
use portcullis_core::{
    AuthenticatedRequest, Check, Denial, InvalidTokenLimit, LimitAlgorithm, LimitCheck,
    LimitDecision, LocalCount, LocalRate, Refusal, StoreKeys, StoreResult, refusal_by_limits,
};
use redis_rest::Reply;

/// Rejects a request if the store recently found one of its keys over the quota. A flood then costs
/// the store nothing.
///
/// # Errors
///
/// [`Denial::RateLimited`] or [`Denial::CreditsExhausted`], with the longest wait of these keys in
/// ms.
pub fn reject_if_over_limit(
    authenticated: &AuthenticatedRequest<'static>,
    context: &RequestContext,
) -> Result<(), Refusal> {
    let mut refused = Vec::new();
    for limit_check in authenticated.all_limit_checks() {
        let (limits, limit) = (&context.isolate.limits, limit_check.limit);
        if let Some((wait_ms, quota)) = limits.over(limit_check.bucket_key(), context.now_ms) {
            let decision = limit_check.local_decision(LocalCount::Refused { wait_ms });
            let decision = LimitDecision { quota, ..decision };
            context.trace.limit_decisions.borrow_mut().push(decision);
            refused.push((wait_ms, limit.algorithm == LimitAlgorithm::Credits));
        }
    }
    match refusal_by_limits(refused) {
        Some(denial) => Err(denial.into()),
        None => Ok(()),
    }
}

/// Lets leases admit the request, as far as the isolate has them, and has them renewed. Returns the
/// time, in Unix milliseconds.
pub fn spend_leases(
    authenticated: &mut AuthenticatedRequest<'static>,
    context: &RequestContext,
) -> u64 {
    let (limits, now_ms) = (&context.isolate.limits, clock::now_ms());
    let (leases, mut owed) = (&limits.leases, limits.owed.borrow_mut());
    let questions = authenticated.spend_leases(&mut leases.borrow_mut(), &mut owed, now_ms);
    for question in questions {
        let key = question.lease_key();
        if !context.isolate.renewals.add_lease(question) {
            leases.borrow_mut().fail(key);
        }
    }
    now_ms
}

/// Keeps the leases that the store granted with the request. `asked_ms` is when it was asked.
pub fn keep_leases(
    check: &Check<'_, 'static>,
    authenticated: &AuthenticatedRequest<'static>,
    results: &[StoreResult],
    asked_ms: u64,
    context: &RequestContext,
) {
    for (limit_check, result) in check.limit_results(authenticated, results) {
        let reply = match result {
            StoreResult::Reply(reply) => Some(reply),
            _ => None,
        };
        record_use(limit_check, reply, context);
        keep_lease(limit_check, reply, asked_ms, context);
    }
}

/// Records what a key has used of a limit by the calendar, or owes to one with a burst, by the
/// store's reply.
pub fn record_use(
    limit_check: &LimitCheck<'static>,
    reply: Option<&Reply>,
    context: &RequestContext,
) {
    let Some(reply) = reply else {
        return;
    };
    let limits = &context.isolate.limits;
    if limit_check.limit.algorithm.is_calendar() {
        limits.periods.borrow_mut().record(limit_check, reply);
    } else {
        limits.owed.borrow_mut().record(limit_check, reply, clock::now_ms());
    }
}

/// Keeps a lease that the store granted; `None` if it did not reply.
pub fn keep_lease(
    limit_check: &LimitCheck<'static>,
    reply: Option<&Reply>,
    asked_ms: u64,
    context: &RequestContext,
) {
    // An answer to a request that took nothing in advance says nothing about an open question.
    let Some(terms) = limit_check.terms.filter(|_| limit_check.ahead > 0) else {
        return;
    };
    let (mut leases, key) = (context.isolate.limits.leases.borrow_mut(), limit_check.lease_key());
    match reply.and_then(|reply| limit_check.granted(reply)) {
        Some(granted) => leases.grant(key, terms, granted, asked_ms, clock::now_ms()),
        None => leases.fail(key),
    }
}

/// Counts in the isolate what the store could not count, and records all decisions. Replaces these
/// results.
pub async fn settle(
    check: &Check<'_, 'static>,
    authenticated: &AuthenticatedRequest<'static>,
    results: &mut [StoreResult],
    context: &RequestContext,
) {
    for (place, limit_check) in check.uncounted(authenticated, results) {
        if let Some(result) = results.get_mut(place) {
            *result = StoreResult::CountedLocally(count_locally(limit_check, context).await);
            context.trace.degraded.set(Some("limit=local"));
        }
    }
    let limit_decisions = check.limit_decisions(authenticated, results);
    let is_api_key = authenticated.verified().is_some_and(|token| token.is_api_key());
    limit_decisions.iter().for_each(|decision| remember(decision, is_api_key, context));
    context.trace.limit_decisions.borrow_mut().extend(limit_decisions);
}

/// Counts with the platform's rate limiter if one is bound, otherwise in the isolate. Reads the
/// clock itself, because requests do not end in the order in which they arrived.
async fn count_locally(limit_check: &LimitCheck<'static>, context: &RequestContext) -> LocalCount {
    if let Some(limiter) = &context.isolate.config.local_limiter
        && let Some(admitted) = limiter.admits(&context.port, &limit_check.store_key()).await
    {
        return match admitted {
            true => LocalCount::Admitted { left: None },
            false => LocalCount::Refused { wait_ms: 1000 },
        };
    }
    let limit = limit_check.limit;
    let (quota, window_seconds) = limit.local_rate(limit_check.quota);
    let rate = LocalRate { quota, window_seconds };
    let (name, cost) = (limit.name.as_str(), limit_check.cost);
    context.isolate.limits.count(name, limit_check.key, rate, cost, clock::now_ms())
}

/// Remembers a key that the store found over an enforced limit. A shadow limit must keep counting.
/// An API key may get another quota, so that its record must be read again soon.
fn remember(decision: &LimitDecision<'_>, is_api_key: bool, context: &RequestContext) {
    if decision.by_store && !decision.admitted && !decision.limit.shadow {
        let may_change = is_api_key || decision.limit.is_adjustable();
        let ask_ms = match may_change {
            true => decision.wait_ms.min(ADJUSTED_MS_MAX),
            false => decision.wait_ms,
        };
        let over = Over {
            // No time brings more credits, but an operator may.
            ask_ms: context.now_ms + if decision.wait_ms == 0 { ADJUSTED_MS_MAX } else { ask_ms },
            retry_ms: if decision.wait_ms == 0 { 0 } else { context.now_ms + decision.wait_ms },
            quota: decision.quota,
        };
        context.isolate.limits.set_over(decision.bucket_key, over);
    }
}

/// Rejects a token that is not cached if the same client has sent too many invalid ones. Only
/// records that if the limit is in shadow.
///
/// # Errors
///
/// [`Denial::TooManyInvalidTokens`], with the wait in ms.
pub fn check_failure_limit(check: &Check<'_, '_>, context: &RequestContext) -> Result<(), Refusal> {
    let Some(limit) = context.policy.invalid_token_limit.filter(|_| check.is_limited()) else {
        return Ok(());
    };
    let key = failure_key(check);
    let wait_ms = context.isolate.limits.failure_wait_ms(key, rate_of(&limit), clock::now_ms());
    match wait_ms {
        0 => Ok(()),
        _ if limit.shadow => {
            context.trace.shadow_failure_limit.set(true);
            Ok(())
        }
        wait_ms => Err(Denial::TooManyInvalidTokens { wait_ms }.into()),
    }
}

/// Counts an invalid token towards the limit of its client.
pub fn record_failure(check: &Check<'_, '_>, refusal: Refusal, context: &RequestContext) {
    let guess = matches!(refusal, Refusal::Denied(denial) if denial.is_guess());
    if let Some(limit) = context.policy.invalid_token_limit.filter(|_| guess && check.is_limited())
    {
        let key = failure_key(check);
        context.isolate.limits.count_failure(key, rate_of(&limit), clock::now_ms());
    }
}

fn rate_of(limit: &InvalidTokenLimit) -> LocalRate {
    LocalRate { quota: limit.quota, window_seconds: limit.window_seconds }
}

fn failure_key(check: &Check<'_, '_>) -> [u8; 32] {
    StoreKeys::limit_hash("failures", check.address())
}

/// The longest time for which an isolate refuses a caller whose quota another program may raise,
/// without asking the store, in milliseconds.
const ADJUSTED_MS_MAX: u64 = 5000;
