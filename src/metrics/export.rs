//! Exports metrics: one data point a request to Workers Analytics Engine, if it is bound, and
//! batches of counters to the store, with what else operators learn of the isolate. The auth
//! service serves the counters to Prometheus.

use super::ending::Ending;
use super::{edges, policy, refusals};
use crate::context::RequestContext;
use crate::isolate::Isolate;
use crate::platform::log::{Level, Line};
use crate::platform::protocol::DataPoint;
use crate::store;
use crate::trace::{Enforcement, VerdictSource};
use portcullis_core::{
    LogPolicy, RevocationMarker, add_up_counters, are_totals_due, push_counters,
};
use redis_rest::Reply;

/// Counts a request.
pub fn record(ending: &Ending<'_>, context: &RequestContext) {
    let trace = &context.trace;
    let route = context.route.get().map_or("none", |route| route.name.as_str());
    let code = ending.code.unwrap_or("none");
    let source = trace.verdict_source.get().map_or("none", VerdictSource::name);
    let (store_ms, provider_ms) = (trace.store_ms.get(), trace.provider_ms.get());
    let upstream_ms = trace.upstream_ms.get();
    if let Some(analytics) = &context.isolate.config.analytics {
        analytics.write(&DataPoint {
            index: route,
            blobs: &[route, ending.outcome, code, source, ending.colo],
            doubles: &[ending.status.into(), ending.ms, store_ms, provider_ms, upstream_ms],
        });
    }
    if context.policy.observability.metrics_seconds == 0 {
        return;
    }
    let (counters, outcome) = (&context.isolate.counters, ending.outcome);
    counters.add(
        format!("requests_total{{route=\"{route}\",outcome=\"{outcome}\",code=\"{code}\"}}"),
        1,
    );
    if source != "none" {
        counters.add(format!("verdicts_total{{route=\"{route}\",cache=\"{source}\"}}"), 1);
    }
    if let Some(event) = trace.event.get() {
        let result = trace.event_result.get().unwrap_or(code);
        counters.add(format!("events_total{{event=\"{event}\",result=\"{result}\"}}"), 1);
    }
    if trace.record_unopened.get() {
        counters.add("records_unopened_total{}".to_owned(), 1);
    }
    if let Some(kind) = trace.marker.get().and_then(RevocationMarker::block) {
        let (kind, shadow) = (kind.name(), trace.would_refuse.get().is_some());
        counters.add(format!("blocked_total{{kind=\"{kind}\",shadow=\"{shadow}\"}}"), 1);
    }
    for (enforcement, shadow) in [(Enforcement::Enforced, false), (Enforcement::Shadow, true)] {
        for limit in trace.exceeded_limits(enforcement) {
            counters.add(format!("limited_total{{limit=\"{limit}\",shadow=\"{shadow}\"}}"), 1);
        }
    }
    trace.limit_decisions.borrow().iter().for_each(|decision| counters.add_limit_check(decision));
    let degraded = trace.degraded.get();
    if let Some(degraded) = degraded {
        counters.add(format!("degraded_total{{route=\"{route}\",how=\"{degraded}\"}}"), 1);
    }
    counters.observe("request", route, ending.ms);
    if store_ms > 0 {
        counters.observe("store", "", store_ms);
    }
    if provider_ms > 0 {
        counters.observe("provider", "", provider_ms);
    }
    if upstream_ms > 0 {
        counters.observe("upstream", route, upstream_ms);
    }
    // Only a request that passed by the clearance itself shows how old one may be.
    let is_cleared = ending.code.is_none() && source == VerdictSource::Isolate.name();
    let age_ms = trace.clearance_age_ms.get().filter(|_| is_cleared);
    if let Some(age_ms) = age_ms {
        counters.observe("clearance_age", "", age_ms);
    }
    counters.observed.update(|own| {
        own.requests += 1;
        own.clearance_age_ms_max = own.clearance_age_ms_max.max(age_ms.unwrap_or_default());
        degraded.into_iter().for_each(|name| own.add_degraded(name));
    });
    if context.policy.observability.refusals {
        refusals::observe(ending, context);
    }
    send_batch_if_due(ending.colo, context);
}

/// Counts and logs a request whose client left before the response.
pub fn record_client_left(request_id: &str, isolate: &Isolate) {
    let Some(policy) = isolate.config.policy else {
        return;
    };
    if policy.observability.metrics_seconds > 0 {
        isolate.counters.add("clients_left_total{}".to_owned(), 1);
    }
    if policy.observability.log == LogPolicy::All {
        Line::new(Level::Info, "client_left").text("request_id", request_id).write();
    }
}

/// Sends a batch of counters after the response, if one is due, with what else operators learn of
/// the isolate. Counts that the store does not accept are part of the next batch.
fn send_batch_if_due(colo: &str, context: &RequestContext) {
    let interval_ms = u64::from(context.policy.observability.metrics_seconds) * 1000;
    if !context.isolate.counters.is_batch_due(context.now_ms, interval_ms) {
        return;
    }
    let colo = colo.to_owned();
    context.spawn(|context| async move { send_batch(&colo, &context).await });
}

async fn send_batch(colo: &str, context: &RequestContext) {
    let counters = &context.isolate.counters;
    if !counters.observed.was_written() {
        BEGIN_AT_0.into_iter().for_each(|field| counters.add(field.to_owned(), 0));
    }
    let (batch, mut seen) = (counters.take_batch(), counters.observed.take());
    let (keys, now_ms) = (&context.policy.keys, context.now_ms);
    let renews = counters.observed.is_renewal_due(now_ms);
    let mut commands = push_counters(keys, &batch, renews);
    commands.extend(refusals::commands(&mut seen.refusals, context));
    let of_policy = policy::command(renews, context);
    let policy_at = of_policy.is_some().then_some(commands.len());
    commands.extend(of_policy);
    commands.extend(edges::commands(&seen, renews, colo, context));
    let Some(replies) = store::write_for_all_replies(&commands, context).await else {
        counters.restore(batch);
        counters.observed.restore(seen);
        return;
    };
    let names = batch.len();
    if let Some(Reply::Error(_)) = replies.first() {
        counters.restore(batch);
    }
    if let Some(error) = replies.iter().find_map(|reply| match reply {
        Reply::Error(error) => Some(error),
        _ => None,
    }) && !counters.observed.was_logged.replace(true)
    {
        Line::new(Level::Warn, "observations_refused").text("reason", error).write();
    }
    if let Some(reply) = policy_at.and_then(|at| replies.get(at)) {
        policy::read(reply, context);
    }
    edges::read(&replies, context);
    if renews {
        counters.observed.renewed_ms.set(now_ms);
    }
    if let Some(Reply::Integer(waiting)) = replies.first()
        && are_totals_due(*waiting, names)
    {
        store::write(&add_up_counters(keys), context).await;
    }
}

/// Rare events. Prometheus sees the first of them only if it saw a 0 before.
const BEGIN_AT_0: [&str; 2] = ["records_unopened_total{}", "usage_lost_total{}"];
