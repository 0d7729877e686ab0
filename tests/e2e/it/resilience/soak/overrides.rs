//! Other quotas that an operator sets for single subjects, and clears.

use super::operator;
use super::record::Topic;
use super::settings::{CUSTOM, CUSTOM_QUOTA, CUSTOM_WINDOW_SECONDS, RAISED_QUOTA};
use super::state::overrides::Customer;
use super::world::World;
use crate::support::chance::Chance;
use crate::support::issuer::ISSUER;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The requests under the higher quota, which are more than the limit's own admits.
const CALLS: u64 = 16;

/// The time until a higher quota counts for a caller that was refused before: 5 s, and a half.
const APPLIES: Duration = Duration::from_millis(5500);

/// The time until a cleared quota that the store had again, because it lost the last writes, is
/// cleared once more.
const CLEARED_AGAIN: Duration = Duration::from_secs(6);

/// The longest time until the operator's request succeeds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The requests one after the other of a caller that exceeds its quota.
const GREEDY_CALLS: u64 = CUSTOM_QUOTA + 5;

/// Sends a request that the limit counts, or more of them than it admits.
pub async fn call(world: &World, mut chance: Chance) {
    let count = if chance.below(6) == 0 { GREEDY_CALLS } else { 1 };
    let Some(customer) = world.overrides.any(&mut chance) else { return };
    for _ in 0..count {
        send(world, &customer, &mut chance).await;
    }
}

/// Returns whether the request passed; `None` if it failed.
async fn send(world: &World, customer: &Customer, chance: &mut Chance) -> Option<bool> {
    let url = world.any_url(chance, "/custom/x");
    let reply = world.send(world.client.get(url).bearer_auth(&customer.token)).await;
    world.judge_identity("customer", Some(&customer.sub), &reply);
    match reply.status {
        Some(200) => {
            customer.calls.lock().unwrap().passed.push((reply.sent, reply.answered));
            world.record.right("customer", &reply);
            Some(true)
        }
        Some(429) if reply.is_over_limit() => {
            world.record.right("customer", &reply);
            Some(false)
        }
        Some(401 | 403) => {
            world.record.find(Topic::WrongReject, format!("customer: {}", reply.body));
            None
        }
        _ => {
            world.record.failure("customer", &reply, &world.history);
            None
        }
    }
}

/// Raises the quota of a subject, uses it, and clears it.
pub async fn change(world: &World, mut chance: Chance) {
    let Some(customer) = world.overrides.take(&mut chance) else { return };
    let by = json!([{ "part": "subject", "value": customer.sub }]);
    let body = json!({ "limit": CUSTOM, "by": by, "issuer": ISSUER, "quota": RAISED_QUOTA,
        "seconds": 3600 });
    let begun = Instant::now();
    customer.calls.lock().unwrap().raised.push((begun, None));
    let is_set = repeat(world, "quota raised", Method::PUT, "/auth/limits", Some(&body)).await;
    if is_set == Some(true) {
        use_it(world, &customer, &mut chance).await;
    }
    let issuer = ISSUER.replace(':', "%3A").replace('/', "%2F");
    let path = format!("/auth/limits?name={CUSTOM}&by=subject%3D{}&issuer={issuer}", customer.sub);
    let cleared = repeat(world, "quota cleared", Method::DELETE, &path, None).await;
    if cleared.is_none() {
        return;
    }
    if cleared == Some(false) {
        // It is delivered some seconds after the end of a fault.
        while !world.history.is_calm(Instant::now()) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(8)).await;
    }
    let mut calls = customer.calls.lock().unwrap();
    if let Some((_, until)) = calls.raised.last_mut() {
        *until = Some(Instant::now());
    }
    calls.is_changing = false;
}

/// Sends more requests than the limit's own quota admits. Without a fault, all of them pass.
async fn use_it(world: &World, customer: &Customer, chance: &mut Chance) {
    tokio::time::sleep(APPLIES).await;
    let (begun, mut passed, mut failed) = (Instant::now(), 0, 0);
    for _ in 0..CALLS {
        match send(world, customer, chance).await {
            Some(true) => passed += 1,
            Some(false) => {}
            None => failed += 1,
        }
    }
    let had_fault = world.history.had_fault(begun - 3 * APPLIES, Instant::now());
    if passed + failed < CALLS && !had_fault {
        let text = format!("only {passed} of {CALLS} requests passed under a higher quota");
        world.record.find(Topic::Limit, text);
    }
}

/// Repeats a request of the operator until it succeeds. Returns whether the store has the change;
/// `None` if it did not succeed.
async fn repeat(
    world: &World,
    kind: &'static str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Option<bool> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(reply) = operator::send(world, method.clone(), path, body).await {
            match reply.status {
                Some(200 | 202 | 204) => {
                    world.record.right(kind, &reply);
                    return Some(reply.status != Some(202));
                }
                _ => operator::record_failure(world, kind, &reply),
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.record.find(Topic::Recovery, format!("{kind}: no success"));
    None
}

/// Reports an interval in which more requests passed than the largest quota allows that may have
/// applied in it. A store that lost its counts admits the quota once more.
pub fn judge(world: &World) {
    world.overrides.all().iter().for_each(|customer| judge_customer(world, customer));
}

fn judge_customer(world: &World, customer: &Customer) {
    let calls = customer.calls.lock().unwrap();
    let mut passed = calls.passed.clone();
    passed.sort_unstable();
    let is_raised = |from: Instant, to: Instant| {
        calls.raised.iter().any(|(begun, ended)| {
            // The store may have lost the end of it.
            let again = |ended: Instant| {
                let until = ended + CLEARED_AGAIN;
                if world.history.had_fault(ended - CLEARED_AGAIN, until) { until } else { ended }
            };
            *begun <= to && ended.is_none_or(|ended| from <= again(ended))
        })
    };
    for (place, (from, _)) in passed.iter().enumerate() {
        for (count, (_, to)) in (1..).zip(&passed[place..]) {
            let quota = match is_raised(*from, *to) {
                true => RAISED_QUOTA as f64,
                false => CUSTOM_QUOTA as f64,
            };
            let time = to.saturating_duration_since(*from);
            let refilled = time.as_secs_f64() * quota / CUSTOM_WINDOW_SECONDS as f64;
            let losses = world.history.losses(*from, *to);
            if f64::from(count) > quota * (1 + losses) as f64 + refilled + 1.0 {
                let text = format!("{count} requests in {time:?} under a quota of {quota}");
                return world.record.find(Topic::Limit, format!("{text}, {losses} losses"));
            }
        }
    }
}
