//! Calls to a dependency through its circuit breaker. With `breaker.shared`, the isolates of one
//! location share which breakers are open.

use super::breakers::{Dependency, Health};
use crate::context::RequestContext;
use crate::platform::log::{Level, Line};
use crate::platform::{cache, clock};
use portcullis_core::{CallPermit, CircuitOpen, Outage, Policy, TokenHash};

/// Calls a dependency through its breaker. While the breaker is half open, one call excludes others
/// for `deadline_ms`, or for 1 s if that is less. A deadline should begin within `work`, because
/// the call may have to wait before `work` starts.
///
/// # Errors
///
/// The dependency's last failure, without a call, if the breaker is open.
pub async fn call<T>(
    dependency: Dependency,
    deadline_ms: u32,
    work: impl Future<Output = (Health, T)>,
    context: &RequestContext,
) -> Result<T, Outage> {
    let work = async {
        let (health, outcome) = work.await;
        let is_up = match health {
            Health::Good => Some(true),
            Health::Failed(_) => Some(false),
            Health::Inconclusive => None,
        };
        if let Some(is_up) = is_up {
            context.isolate.operator.record(dependency, is_up, clock::now_ms());
        }
        (health, outcome)
    };
    if context.policy.breaker.failures == 0 {
        return Ok(work.await.1);
    }
    let breakers = &context.isolate.breakers;
    if context.policy.breakers_shared && breakers.add(dependency) {
        adopt_shared_state(dependency, context).await;
    }
    let lease_ms = deadline_ms.min(LEASE_MS_MAX);
    let permit = breakers.with(dependency, |breaker| breaker.admit(clock::now_ms(), lease_ms));
    let permit = permit.map_err(|open| {
        context.circuit_open.set(Some(open));
        open.cause
    })?;
    let successes = || breakers.with(dependency, |breaker| breaker.successes());
    let successes_before = successes();
    let (health, outcome) = work.await;
    // A client may have requested a slow resource. If other requests succeeded meanwhile, the
    // upstream works.
    let works = || successes() != successes_before;
    match health {
        Health::Failed(_) if matches!(dependency, Dependency::Upstream(_)) && works() => {
            breakers.with(dependency, |breaker| breaker.inconclusive(permit));
        }
        Health::Good => succeeded(dependency, permit, context),
        Health::Failed(cause) => failed(dependency, permit, cause, context),
        Health::Inconclusive => {
            breakers.with(dependency, |breaker| breaker.inconclusive(permit));
        }
    }
    Ok(outcome)
}

fn succeeded(dependency: Dependency, permit: CallPermit, context: &RequestContext) {
    if context.isolate.breakers.with(dependency, |breaker| breaker.succeeded(permit)) {
        record_change(dependency, "closed", None, context);
        share(dependency, 0, 1, context);
    }
}

fn failed(dependency: Dependency, permit: CallPermit, cause: Outage, context: &RequestContext) {
    let (now_ms, jitter) = (clock::now_ms(), context.jitter());
    let opened = context.isolate.breakers.with(dependency, |breaker| {
        breaker.failed(permit, cause, context.policy.breaker, now_ms, jitter)
    });
    if let Some(wait_ms) = opened {
        record_change(dependency, "open", Some(CircuitOpen { cause, wait_ms }), context);
        share(dependency, now_ms + wait_ms, wait_ms.div_ceil(1000), context);
    }
}

/// Publishes how long a breaker stays open, for new isolates of the same location.
fn share(dependency: Dependency, until_ms: u64, seconds: u64, context: &RequestContext) {
    if context.policy.breakers_shared {
        context.spawn(move |context| async move {
            let key = cache_key(dependency, context.policy);
            cache::put(&context.port, &key, &until_ms.to_string(), seconds).await;
        });
    }
}

/// Opens a new breaker if another isolate has published that its own is open.
async fn adopt_shared_state(dependency: Dependency, context: &RequestContext) {
    let until_ms = cache::get(&context.port, &cache_key(dependency, context.policy)).await;
    let until_ms: u64 = until_ms.and_then(|text| text.parse().ok()).unwrap_or(0);
    let now_ms = clock::now_ms();
    let bound_ms = now_ms + u64::from(context.policy.breaker.pause_ms_max);
    if until_ms > now_ms {
        let cause = match dependency {
            Dependency::Store => Outage::StoreUnreachable,
            Dependency::Auth => Outage::AuthUnreachable,
            Dependency::Upstream(_) => Outage::UpstreamUnreachable,
            Dependency::Provider(_) => Outage::IntrospectionUnreachable,
        };
        let pause_ms = until_ms - now_ms;
        context.isolate.breakers.with(dependency, |breaker| {
            breaker.force_open(cause, until_ms.min(bound_ms), pause_ms);
        });
    }
}

fn cache_key(dependency: Dependency, policy: &Policy) -> String {
    let (store, upstream) = (policy.store.as_str(), policy.upstream.as_str());
    let source = format!("{store}\n{upstream}\n{}", dependency.name(policy));
    format!("https://breakers.portcullis.invalid/{}", TokenHash::of(&source))
}

/// Counts and logs that a breaker opened or closed.
fn record_change(
    dependency: Dependency,
    state: &str,
    open: Option<CircuitOpen<Outage>>,
    context: &RequestContext,
) {
    let name = dependency.name(context.policy);
    if context.policy.observability.metrics_seconds > 0 {
        context.isolate.counters.add_breaker_change(&name, state);
    }
    Line::new(Level::Warn, "breaker")
        .text("request_id", &context.request_id)
        .text("dependency", &name)
        .text("state", state)
        .text_or_null("cause", open.map(|open| open.cause.code()))
        .value("pause_ms", &open.map(|open| open.wait_ms).into())
        .write();
}

/// The longest time for which a probe excludes other probes.
const LEASE_MS_MAX: u32 = 1000;
