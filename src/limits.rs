//! What isolates know of limits by themselves: who is over one, so that a flood costs the store nothing; and
//! counts of their own, for bad tokens, and for limits that the store can't count.

use crate::{Arrival, config, host, store, task};
use portcullis_core::{
    Alike, Charge, Check, Denial, Finding, LocalCounts, Memory, Outage, Policy, Proof, Refusal,
    Tally,
};
use redis_rest::{Command, Reply};
use std::cell::RefCell;
use std::collections::HashMap;

thread_local! {
    /// Until when whom a limit counts is over it.
    static OVER: RefCell<Memory<Alike, u64>> =
        RefCell::new(Memory::new(KEYS_PER_GENERATION, usize::MAX));
    /// What is counted here, for each limit apart: whoever floods one pushes nobody out of another.
    static COUNTS: RefCell<HashMap<&'static str, LocalCounts>> = RefCell::new(HashMap::new());
    static FAILURES: RefCell<LocalCounts> = RefCell::new(LocalCounts::new(KEYS_PER_GENERATION));
}

/// Refuses what the store would refuse, as it said a while ago.
pub fn recall(proof: &Proof<'static>, arrival: &Arrival) -> Result<(), Refusal> {
    let mut wait_ms = None;
    for charge in proof.charges().chain(proof.late_charges()) {
        let until_ms = OVER.with_borrow_mut(|over| over.recall(charge.alike(), |_| 0));
        let Some(left_ms) = until_ms.and_then(|until_ms| until_ms.checked_sub(arrival.now_ms))
        else {
            continue;
        };
        if left_ms > 0 {
            arrival.trace.tallies.borrow_mut().push(charge.counted(Err(left_ms)));
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
    proof: &Proof<'static>,
    findings: &mut [Finding],
    arrival: &Arrival,
) {
    for (place, charge) in check.uncounted(proof, findings) {
        if let Some(finding) = findings.get_mut(place) {
            *finding = Finding::Counted(count_here(charge).await);
            arrival.trace.degraded.set(Some("limit=local"));
        }
    }
    let tallies = check.tallies(proof, findings);
    tallies.iter().for_each(|tally| remember(tally, arrival));
    arrival.trace.tallies.borrow_mut().extend(tallies);
}

/// In the platform's limiter where one is bound, which the isolates of one place share; or else here, by the clock
/// as it is now: requests end out of order.
async fn count_here(charge: &Charge<'static>) -> Result<Option<u64>, u64> {
    if let Some(limiter) = config::limiter()
        && let Some(admitted) = host::limit(&limiter, &charge.key).await
    {
        return if admitted { Ok(None) } else { Err(1000) };
    }
    let limit = charge.limit;
    let measure = (limit.local_quota.unwrap_or(charge.quota), limit.window_seconds, charge.cost);
    let count = COUNTS.with_borrow_mut(|counts| {
        let counts = counts
            .entry(limit.name.as_str())
            .or_insert_with(|| LocalCounts::new(KEYS_PER_GENERATION));
        counts.count(charge.who, measure, host::now_ms())
    });
    count.map(Some)
}

/// Whoever is over a limit that is enforced, by the store's word; what is merely watched must be counted on.
fn remember(tally: &Tally<'_>, arrival: &Arrival) {
    if tally.by_store && !tally.admitted && !tally.limit.shadow {
        OVER.with_borrow_mut(|over| over.insert(tally.alike, arrival.now_ms + tally.wait_ms, 0));
    }
}

/// Counts after the answer what need not be counted before it; whoever turns out to be over is refused from
/// then on.
pub fn count_late(proof: &Proof<'static>, policy: &'static Policy, arrival: &Arrival) {
    let charges: Vec<Charge<'static>> = proof.late_charges().cloned().collect();
    if charges.is_empty() {
        return;
    }
    let own = arrival.alone();
    task::after(async move {
        let commands: Vec<Command> = charges.iter().map(Charge::command).collect();
        let replies: Result<Vec<Reply>, Outage> = store::trip(policy, &commands, &own).await;
        for (charge, reply) in charges.iter().zip(replies.unwrap_or_default()) {
            if let Some(tally) = charge.tally(&reply) {
                remember(&tally, &own);
            }
        }
    });
}

/// Refuses an unknown token unseen, where too many bad ones came from the same address.
pub fn judge_guesser(
    check: &Check<'_, '_>,
    policy: &Policy,
    arrival: &Arrival,
) -> Result<(), Refusal> {
    let Some(limit) = policy.failure_limit.filter(|_| check.is_limited()) else {
        return Ok(());
    };
    let who = guesser(check, policy);
    let wait_ms = FAILURES.with_borrow_mut(|failures| {
        failures.wait_ms(who, limit.quota, limit.window_seconds, host::now_ms())
    });
    match wait_ms {
        0 => Ok(()),
        _ if limit.shadow => {
            arrival.trace.shadowed_failures.set(true);
            Ok(())
        }
        wait_ms => Err(Denial::FailuresExceeded { wait_ms }.into()),
    }
}

/// Counts a bad token.
pub fn charge_guesser(check: &Check<'_, '_>, policy: &Policy, refusal: Refusal) {
    let guess = matches!(refusal, Refusal::Denied(denial) if denial.is_guess());
    if let Some(limit) = policy.failure_limit.filter(|_| guess && check.is_limited()) {
        let who = guesser(check, policy);
        let measure = (limit.quota, limit.window_seconds, 1);
        let _ = FAILURES.with_borrow_mut(|failures| failures.count(who, measure, host::now_ms()));
    }
}

fn guesser(check: &Check<'_, '_>, policy: &Policy) -> [u8; 32] {
    policy.keys.limit("failures", check.address()).1
}

const KEYS_PER_GENERATION: usize = 8192;
