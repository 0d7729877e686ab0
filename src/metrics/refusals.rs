//! The steps of refused requests, for operators.

use super::ending::Ending;
use crate::context::RequestContext;
use crate::trace::VerdictSource;
use portcullis_core::{LimitDecision, RefusalSample, RefusedRequest};
use redis_rest::Command;

/// Adds a request to the sample of refusals, if it was refused or would have been.
pub fn observe(ending: &Ending<'_>, context: &RequestContext) {
    let would_refuse = context.trace.would_refuse.get();
    let Some(code) = ending.code.or(would_refuse) else {
        return;
    };
    let trace = &context.trace;
    let (path, address) = (trace.path.borrow(), trace.address.borrow());
    let (token, received) = (trace.token.borrow(), trace.received.borrow());
    let subject = trace.subject.borrow();
    let claims = token.as_ref().map(|token| token.claims());
    let received = received.as_ref().and_then(|received| received.iss.as_deref());
    let describe = || RefusedRequest {
        at_ms: context.now_ms,
        id: &context.request_id,
        route: context.route.get().map(|route| route.name.as_str()),
        code,
        status: ending.status,
        method: ending.method,
        path: &path,
        address: &address,
        client: claims.and_then(|claims| claims.client_id.as_deref()),
        iss: claims.map(|claims| claims.iss.as_str()).or(received),
        subject: subject.as_deref(),
        colo: ending.colo,
        ms: ending.ms,
        shadow: ending.code.is_none(),
        steps: steps(code, context),
    };
    let observed = &context.isolate.counters.observed;
    observed.update(|own| own.refusals.add(context.jitter(), describe));
}

/// Returns the commands that put a sample at the head of the store's list.
pub fn commands(sample: &mut RefusalSample, context: &RequestContext) -> Vec<Command> {
    if sample.is_empty() {
        return Vec::new();
    }
    let key = context.policy.keys.refusals();
    let entries = sample.entries().into_iter();
    let push = entries.fold(Command::new("LPUSH").arg(&key), Command::arg_bytes);
    vec![
        push,
        Command::new("LTRIM").arg(&key).arg(0).arg(LENGTH_MAX - 1),
        Command::new("EXPIRE").arg(key).arg(KEPT_SECONDS),
    ]
}

/// Returns the steps that a request took, in their order.
fn steps(code: &str, context: &RequestContext) -> Vec<(&'static str, u64, String)> {
    let trace = &context.trace;
    let mut steps = Vec::new();
    if let Some(route) = context.route.get() {
        steps.push(("route", 0, route.name.clone()));
    }
    if let Some(note) = token_note(context) {
        steps.push(("token", 0, note));
    }
    let (store_ms, provider_ms) = (trace.store_ms.get(), trace.provider_ms.get());
    let outage = context.store_failure.get().map(|outage| outage.code().to_owned());
    let marker = trace.marker.get().map(|marker| match marker.block() {
        Some(kind) => format!("blocked: {}", kind.name()),
        None => format!("revoked: {} marker", marker.name()),
    });
    let note = outage.or(marker);
    if store_ms > 0 || note.is_some() {
        let is_cached = store_ms == 0 && context.store_failure.get().is_none();
        let from = if is_cached { " (known to the isolate)" } else { "" };
        steps.push(("store", store_ms, note.map(|note| note + from).unwrap_or_default()));
    }
    if provider_ms > 0 {
        steps.push(("provider", provider_ms, String::new()));
    }
    steps.extend(trace.limit_decisions.borrow().iter().map(|own| ("limit", 0, limit_note(own))));
    if trace.upstream_ms.get() > 0 {
        steps.push(("upstream", trace.upstream_ms.get(), String::new()));
    }
    if let Some(degraded) = trace.degraded.get() {
        steps.push(("degraded", 0, degraded.to_owned()));
    }
    steps.push(("decide", 0, code.to_owned()));
    steps
}

/// Describes the token, if the request had one that could be read.
fn token_note(context: &RequestContext) -> Option<String> {
    let trace = &context.trace;
    let source = trace.verdict_source.get().map(VerdictSource::name);
    let (kid, received) = (trace.kid.borrow(), trace.received.borrow());
    let mut note = match (trace.token.borrow().as_ref(), kid.as_ref(), received.as_ref()) {
        (Some(token), ..) if token.is_api_key() => "API key".to_owned(),
        (_, Some(kid), _) => format!("JWT, kid {kid}"),
        (Some(_), None, _) => "verified".to_owned(),
        (None, None, Some(received)) => match &received.unmet {
            Some(unmet) => format!("JWT, not verified, unmet: {unmet}"),
            None => "JWT, not verified".to_owned(),
        },
        (None, None, None) => return None,
    };
    for part in [trace.missing_claim.get(), source].into_iter().flatten() {
        note.push_str(", ");
        note.push_str(part);
    }
    Some(note)
}

fn limit_note(decision: &LimitDecision<'_>) -> String {
    let result = match (decision.admitted, decision.limit.shadow) {
        (true, _) => "passed",
        (false, false) => "refused",
        (false, true) => "would refuse",
    };
    let left = decision.left.map(|left| format!(", {left} left")).unwrap_or_default();
    format!("{}: {result}{left}", decision.limit.name)
}

/// How many refusals the store keeps.
const LENGTH_MAX: u32 = 1000;
/// How long it keeps them.
const KEPT_SECONDS: u32 = 3600;
