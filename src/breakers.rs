//! Who is left alone: a circuit breaker for each dependency, in each isolate; and, where the policy says so,
//! what other isolates of the same place have learned.

use crate::{Arrival, host, metrics, task};
use portcullis_core::{Breaker, BreakerState, CallPermit, Outage, Policy, TokenHash};
use std::cell::RefCell;
use std::collections::HashMap;

/// Whom the edge calls.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Dependency {
    Store,
    Auth,
    /// The upstream of this route: one slow call does not speak for all others.
    Upstream(&'static str),
    /// The introspection of the issuer in this place.
    Provider(usize),
}

thread_local! {
    static BREAKERS: RefCell<HashMap<Dependency, Breaker<Outage>>> = RefCell::new(HashMap::new());
}

/// What a call says of its dependency.
pub enum Health {
    /// It did its part.
    Good,
    /// It failed.
    Failed(Outage),
    /// Nothing: what went wrong may be the client's doing.
    Inconclusive,
}

/// Calls a dependency, unless it is left alone. Why it was, and until when, is what it failed with last. A deadline
/// should begin within `work`, since there may be a wait before it.
pub async fn call<T>(
    dependency: Dependency,
    policy: &'static Policy,
    arrival: &Arrival,
    deadline_ms: u32,
    work: impl Future<Output = (Health, T)>,
) -> Result<T, Outage> {
    if policy.breaker.failures == 0 {
        return Ok(work.await.1);
    }
    if policy.breakers_shared {
        adopt(dependency, policy).await;
    }
    let lease_ms = deadline_ms.min(LEASE_MS_MAX);
    let pass = with(dependency, |breaker| breaker.admit(host::now_ms(), lease_ms));
    let pass = pass.map_err(|alone| {
        arrival.trace.retry.set(Some((alone.cause, alone.wait_ms)));
        alone.cause
    })?;
    let (health, outcome) = work.await;
    match health {
        Health::Good => succeeded(dependency, pass, policy, arrival),
        Health::Failed(cause) => failed(dependency, pass, cause, policy, arrival),
        Health::Inconclusive => with(dependency, |breaker| breaker.inconclusive(pass)),
    }
    Ok(outcome)
}

fn succeeded(dependency: Dependency, pass: CallPermit, policy: &'static Policy, arrival: &Arrival) {
    if with(dependency, |breaker| breaker.succeeded(pass)) {
        log(dependency, policy, arrival, "closed", None);
        share(dependency, policy, 0, 1);
    }
}

fn failed(
    dependency: Dependency,
    pass: CallPermit,
    cause: Outage,
    policy: &'static Policy,
    arrival: &Arrival,
) {
    let (now_ms, jitter) = (host::now_ms(), arrival.jitter());
    let opened =
        with(dependency, |breaker| breaker.failed(pass, cause, policy.breaker, now_ms, jitter));
    if let Some(wait_ms) = opened {
        log(dependency, policy, arrival, "open", Some((cause, wait_ms)));
        share(dependency, policy, now_ms + wait_ms, wait_ms.div_ceil(1000));
    }
}

/// Tells new isolates of the same place until when a dependency is left alone.
fn share(dependency: Dependency, policy: &'static Policy, until_ms: u64, seconds: u64) {
    if policy.breakers_shared {
        task::after(async move {
            let key = cache_key(dependency, policy);
            host::cache_put(&key, &until_ms.to_string(), seconds).await;
        });
    }
}

/// What another isolate has learned, looked up once by each.
async fn adopt(dependency: Dependency, policy: &'static Policy) {
    let known = BREAKERS.with_borrow(|breakers| breakers.contains_key(&dependency));
    if known {
        return;
    }
    // First, so that nobody else looks meanwhile.
    with(dependency, |_| ());
    let until_ms = host::cache_get(&cache_key(dependency, policy)).await;
    let until_ms: u64 = until_ms.and_then(|text| text.parse().ok()).unwrap_or(0);
    let now_ms = host::now_ms();
    let bound_ms = now_ms + u64::from(policy.breaker.pause_ms_max);
    if until_ms > now_ms {
        let cause = match dependency {
            Dependency::Store => Outage::StoreUnreachable,
            Dependency::Auth => Outage::AuthUnreachable,
            Dependency::Upstream(_) => Outage::UpstreamUnreachable,
            Dependency::Provider(_) => Outage::IntrospectionUnreachable,
        };
        let pause_ms = until_ms - now_ms;
        with(dependency, |breaker| breaker.force_open(cause, until_ms.min(bound_ms), pause_ms));
    }
}

/// Whether a dependency is left alone at this moment.
pub fn is_open(dependency: Dependency) -> bool {
    let now_ms = host::now_ms();
    let state = BREAKERS
        .with_borrow(|breakers| breakers.get(&dependency).map(|breaker| breaker.state(now_ms)));
    state == Some(BreakerState::Open)
}

/// Those that are not closed, with what they are doing.
pub fn not_closed(policy: &Policy) -> Vec<(String, &'static str)> {
    let now_ms = host::now_ms();
    BREAKERS.with_borrow(|breakers| {
        let states =
            breakers.iter().map(|(dependency, breaker)| (dependency, breaker.state(now_ms)));
        let not_closed = states.filter(|(_, state)| *state != BreakerState::Closed);
        not_closed.map(|(dependency, state)| (name(*dependency, policy), state.name())).collect()
    })
}

fn with<T>(dependency: Dependency, work: impl FnOnce(&mut Breaker<Outage>) -> T) -> T {
    BREAKERS.with_borrow_mut(|breakers| work(breakers.entry(dependency).or_default()))
}

fn name(dependency: Dependency, policy: &Policy) -> String {
    match dependency {
        Dependency::Store => "store".to_owned(),
        Dependency::Auth => "auth".to_owned(),
        Dependency::Upstream(route) => format!("upstream of {route}"),
        Dependency::Provider(place) => {
            let issuer = policy.issuers.get(place).map(|issuer| issuer.issuer.as_str());
            format!("provider {}", issuer.unwrap_or_default())
        }
    }
}

fn cache_key(dependency: Dependency, policy: &Policy) -> String {
    let whose = format!("{}\n{}", policy.store.as_str(), name(dependency, policy));
    format!("https://breakers.portcullis.invalid/{}", TokenHash::of(&whose))
}

fn log(
    dependency: Dependency,
    policy: &Policy,
    arrival: &Arrival,
    state: &str,
    why: Option<(Outage, u64)>,
) {
    metrics::breaker(&name(dependency, policy), state, policy);
    let line = serde_json::json!({
        "level": "warn", "event": "breaker", "request_id": arrival.request_id,
        "dependency": name(dependency, policy), "state": state,
        "cause": why.map(|(cause, _)| cause.code()), "pause_ms": why.map(|(_, wait_ms)| wait_ms),
    });
    host::log(&line.to_string());
}

/// A probe that takes longer lets the next one try.
const LEASE_MS_MAX: u32 = 1000;
