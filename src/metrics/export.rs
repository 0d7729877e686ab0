//! Exports metrics: one data point a request to Workers Analytics Engine, if it is bound, and
//! batches of counters to the store. The auth service serves the latter to Prometheus.

use crate::context::RequestContext;
use crate::isolate::Isolate;
use crate::platform::log::{Level, Line};
use crate::platform::protocol::DataPoint;
use crate::store;
use crate::trace::{Enforcement, VerdictSource};
use portcullis_core::{LogPolicy, RevocationMarker};
use redis_rest::Command;

/// How a request ended.
pub struct Ending<'a> {
    /// `forwarded`, `answered` or `refused`.
    pub outcome: &'a str,
    /// The code of a refusal.
    pub code: Option<&'a str>,
    /// The HTTP status of the response.
    pub status: u16,
    /// From the request's arrival to the head of the response.
    pub ms: u64,
    /// The Cloudflare location that served the request.
    pub colo: &'a str,
}

/// Counts a request.
pub fn record(ending: &Ending<'_>, context: &RequestContext) {
    let trace = &context.trace;
    let route = context.route.get().map_or("none", |route| route.name.as_str());
    let code = ending.code.unwrap_or("none");
    let source = trace.verdict_source.get().map_or("none", VerdictSource::name);
    let (store_ms, upstream_ms) = (trace.store_ms.get(), trace.upstream_ms.get());
    if let Some(analytics) = &context.isolate.config.analytics {
        analytics.write(&DataPoint {
            index: route,
            blobs: &[route, ending.outcome, code, source, ending.colo],
            doubles: &[
                ending.status.into(),
                ending.ms,
                store_ms,
                trace.provider_ms.get(),
                upstream_ms,
            ],
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
    if let Some(degraded) = trace.degraded.get() {
        counters.add(format!("degraded_total{{route=\"{route}\",how=\"{degraded}\"}}"), 1);
    }
    counters.observe("request", &format!("route=\"{route}\""), ending.ms);
    if store_ms > 0 {
        counters.observe("store", "", store_ms);
    }
    if upstream_ms > 0 {
        counters.observe("upstream", &format!("route=\"{route}\""), upstream_ms);
    }
    send_batch_if_due(context);
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

/// Sends a batch of counters after the response, if one is due. Counts that the store does not
/// accept are part of the next batch.
fn send_batch_if_due(context: &RequestContext) {
    let interval_ms = u64::from(context.policy.observability.metrics_seconds) * 1000;
    if !context.isolate.counters.is_batch_due(context.now_ms, interval_ms) {
        return;
    }
    context.spawn(|context| async move {
        let batch = context.isolate.counters.take_batch();
        let key = context.policy.keys.metrics();
        let mut commands: Vec<Command> = batch
            .iter()
            .map(|(field, count)| Command::new("HINCRBY").arg(&key).arg(field).arg(*count))
            .collect();
        commands.push(Command::new("EXPIRE").arg(&key).arg(KEPT_SECONDS));
        if !store::write(&commands, &context).await {
            context.isolate.counters.restore(batch);
        }
    });
}

/// How long the store keeps counters to which no edge adds.
const KEPT_SECONDS: u32 = 7 * 86_400;
