//! What isolates know of limits by themselves: who is over one, so that a flood costs the store nothing; and
//! counts of their own, for bad tokens, and for limits that the store can't count.

use crate::{Arrival, config, host, store, task};
use portcullis_core::{
    AuthenticatedRequest, BucketKey, Check, Denial, FailureLimit, GenerationalCache, LimitCheck,
    LimitDecision, LocalCount, LocalCounts, LocalRate, Outage, Policy, Refusal, StoreResult,
};
use redis_rest::{Command, Reply};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// Until when whom a limit counts is over it.
    static OVER: RefCell<GenerationalCache<BucketKey, u64>> =
        RefCell::new(GenerationalCache::new(KEYS_PER_GENERATION, usize::MAX));
    /// What is counted here, for each limit apart: whoever floods one pushes nobody out of another.
    static COUNTS: RefCell<HashMap<&'static str, LocalCounts>> = RefCell::new(HashMap::new());
    static FAILURES: RefCell<LocalCounts> = RefCell::new(LocalCounts::new(KEYS_PER_GENERATION));
}

/// Refuses what the store would refuse, as it said a while ago.
pub fn reject_if_over_limit(
    authenticated: &AuthenticatedRequest<'static>,
    arrival: &Arrival,
) -> Result<(), Refusal> {
    let mut wait_ms = None;
    for limit_check in authenticated.limit_checks().chain(authenticated.late_limit_checks()) {
        let until_ms = OVER.with_borrow_mut(|over| over.get(limit_check.bucket_key(), |_| 0));
        let Some(left_ms) = until_ms.and_then(|until_ms| until_ms.checked_sub(arrival.now_ms))
        else {
            continue;
        };
        if left_ms > 0 {
            arrival
                .trace
                .limit_decisions
                .borrow_mut()
                .push(limit_check.local_decision(LocalCount::Refused { wait_ms: left_ms }));
            wait_ms = wait_ms.max(Some(left_ms));
        }
    }
    match wait_ms {
        Some(wait_ms) => Err(Denial::RateLimited { wait_ms }.into()),
        None => Ok(()),
    }
}

/// Counts in the isolate what the store did not count, and takes note of what the limits said.
pub async fn settle(
    check: &Check<'_, 'static>,
    authenticated: &AuthenticatedRequest<'static>,
    results: &mut [StoreResult],
    arrival: &Arrival,
) {
    for (place, limit_check) in check.uncounted(authenticated, results) {
        if let Some(result) = results.get_mut(place) {
            *result = StoreResult::CountedLocally(count_here(limit_check).await);
            arrival.trace.degraded.set(Some("limit=local"));
        }
    }
    let limit_decisions = check.limit_decisions(authenticated, results);
    limit_decisions.iter().for_each(|decision| remember(decision, arrival));
    arrival.trace.limit_decisions.borrow_mut().extend(limit_decisions);
}

/// In the platform's limiter where one is bound, which the isolates of one place share; or else here, by the clock
/// as it is now: requests end out of order.
async fn count_here(limit_check: &LimitCheck<'static>) -> LocalCount {
    if let Some(limiter) = config::limiter()
        && let Some(admitted) = host::limit(&limiter, &limit_check.store_key).await
    {
        return match admitted {
            true => LocalCount::Admitted { left: None },
            false => LocalCount::Refused { wait_ms: 1000 },
        };
    }
    let limit = limit_check.limit;
    let rate = LocalRate {
        quota: limit.local_quota.unwrap_or(limit_check.quota),
        window_seconds: limit.window_seconds,
    };
    COUNTS.with_borrow_mut(|counts| {
        let counts = counts
            .entry(limit.name.as_str())
            .or_insert_with(|| LocalCounts::new(KEYS_PER_GENERATION));
        counts.count(limit_check.key, rate, limit_check.cost, host::now_ms())
    })
}

/// Whoever is over a limit that is enforced, by the store's word; what is merely watched must be counted on.
fn remember(decision: &LimitDecision<'_>, arrival: &Arrival) {
    if decision.by_store && !decision.admitted && !decision.limit.shadow {
        OVER.with_borrow_mut(|over| {
            over.insert(decision.bucket_key, arrival.now_ms + decision.wait_ms, 0)
        });
    }
}

/// Counts after the answer what need not be counted before it; whoever turns out to be over is refused from
/// then on.
pub fn count_late(
    authenticated: &AuthenticatedRequest<'static>,
    policy: &'static Policy,
    arrival: &Arrival,
) {
    let limit_checks: Vec<LimitCheck<'static>> =
        authenticated.late_limit_checks().cloned().collect();
    if limit_checks.is_empty() {
        return;
    }
    let own = arrival.alone();
    task::after(async move {
        let commands: Vec<Command> = limit_checks.iter().map(LimitCheck::command).collect();
        let replies: Result<Vec<Reply>, Outage> = store::trip(policy, &commands, &own).await;
        for (limit_check, reply) in limit_checks.iter().zip(replies.unwrap_or_default()) {
            if let Some(decision) = limit_check.decision(&reply) {
                remember(&decision, &own);
            }
        }
    });
}

/// Refuses an unknown token unseen, where too many bad ones came from the same address.
pub fn check_failure_limit(
    check: &Check<'_, '_>,
    policy: &Policy,
    arrival: &Arrival,
) -> Result<(), Refusal> {
    let Some(limit) = policy.failure_limit.filter(|_| check.is_limited()) else {
        return Ok(());
    };
    let key = failure_key(check, policy);
    let wait_ms =
        FAILURES.with_borrow_mut(|failures| failures.wait_ms(key, rate_of(&limit), host::now_ms()));
    match wait_ms {
        0 => Ok(()),
        _ if limit.shadow => {
            arrival.trace.shadowed_failures.set(true);
            Ok(())
        }
        wait_ms => Err(Denial::TooManyInvalidTokens { wait_ms }.into()),
    }
}

/// Counts a bad token.
pub fn record_failure(check: &Check<'_, '_>, policy: &Policy, refusal: Refusal) {
    let guess = matches!(refusal, Refusal::Denied(denial) if denial.is_guess());
    if let Some(limit) = policy.failure_limit.filter(|_| guess && check.is_limited()) {
        let key = failure_key(check, policy);
        FAILURES
            .with_borrow_mut(|failures| failures.count(key, rate_of(&limit), 1, host::now_ms()));
    }
}

fn rate_of(limit: &FailureLimit) -> LocalRate {
    LocalRate { quota: limit.quota, window_seconds: limit.window_seconds }
}

fn failure_key(check: &Check<'_, '_>, policy: &Policy) -> [u8; 32] {
    policy.keys.limit("failures", check.address()).1
}

const KEYS_PER_GENERATION: usize = 8192;
