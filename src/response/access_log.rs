//! The access log: one line per request.

use crate::context::RequestContext;
use crate::metrics::ending::Ending;
use crate::platform::clock;
use crate::platform::log::{Level, Line};
use crate::platform::protocol::IncomingRequest;
use crate::trace::{Enforcement, VerdictSource};
use portcullis_core::RevocationMarker;
use serde_json::{Map, Value};

/// Logs a request. Members whose value is the default are omitted.
pub fn write(ending: &Ending<'_>, request: &IncomingRequest<'_>, context: &RequestContext) {
    let trace = &context.trace;
    let route = context.route.get().map(|route| route.name.as_str());
    let mut line = begin(ending, request, route);
    line.text("path", &trace.path.borrow());
    line.text("address", &trace.address.borrow());
    line.text("subject", trace.subject.borrow().as_deref().unwrap_or_default());
    if let Some(received) = trace.received.borrow().as_ref() {
        line.text("iss", received.iss.as_deref().unwrap_or_default());
        line.text("aud", received.aud.as_deref().unwrap_or_default());
        line.text("unmet", received.unmet.as_deref().unwrap_or_default());
    }
    let marker = trace.marker.get();
    let name = if marker.and_then(RevocationMarker::block).is_some() { "block" } else { "marker" };
    line.text(name, marker.map_or("", RevocationMarker::name));
    line.text("cache", trace.verdict_source.get().map_or("", VerdictSource::name));
    line.text("kid", trace.kid.borrow().as_deref().unwrap_or_default());
    for (name, ms) in [
        ("store_ms", &trace.store_ms),
        ("provider_ms", &trace.provider_ms),
        ("upstream_ms", &trace.upstream_ms),
    ] {
        if ms.get() > 0 {
            line.number(name, ms.get());
        }
    }
    let left = trace.limit_decisions.borrow().iter().filter_map(|decision| decision.left).min();
    if let Some(left) = left {
        line.number("limit_left", left);
    }
    for (name, enforcement) in [("limits", Enforcement::Enforced), ("shadow", Enforcement::Shadow)]
    {
        let exceeded = trace.exceeded_limits(enforcement);
        if !exceeded.is_empty() {
            line.value(name, &exceeded.into());
        }
    }
    if trace.shadow_failure_limit.get() {
        line.value("shadow_failures", &true.into());
    }
    if trace.record_unopened.get() {
        line.value("record_unopened", &true.into());
    }
    line.text("claim", trace.missing_claim.get().unwrap_or_default());
    line.text("event_type", trace.event.get().unwrap_or_default());
    line.text("event_result", trace.event_result.get().unwrap_or_default());
    line.text("refresh", trace.refresh.get().unwrap_or_default());
    line.text("would_refuse", trace.would_refuse.get().unwrap_or_default());
    line.text("degraded", trace.degraded.get().unwrap_or_default());
    let not_closed = context.isolate.breakers.not_closed(context.policy, clock::now_ms());
    if !not_closed.is_empty() {
        let mut states = Map::new();
        for (name, state) in not_closed {
            states.insert(name, state.into());
        }
        line.value("breakers", &Value::Object(states));
    }
    line.write();
}

/// Logs a request to an isolate whose configuration is invalid.
pub fn write_misconfigured(ending: &Ending<'_>, request: &IncomingRequest<'_>) {
    begin(ending, request, None).write();
}

/// Begins a line with the members of every request.
fn begin(ending: &Ending<'_>, request: &IncomingRequest<'_>, route: Option<&str>) -> Line {
    let failed = ending.code.is_some() && ending.status >= 500;
    let mut line = Line::new(if failed { Level::Warn } else { Level::Info }, "request");
    line.text("request_id", request.request_id);
    line.text("method", request.head.method());
    line.text_or_null("route", route);
    line.text("outcome", ending.outcome);
    line.text_or_null("code", ending.code);
    line.number("status", ending.status.into());
    line.number("ms", ending.ms);
    line.text("colo", ending.colo);
    line
}
