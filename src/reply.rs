//! The one place where a refusal becomes a response, and where a request is logged.

use crate::host::{self, Response};
use crate::metrics::{self, Ending};
use crate::trace::Tier;
use crate::{Arrival, Outcome, breakers};
use portcullis_core::{Access, Denial, LimitDecision, Outage, Refusal, metadata_url};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// The response to a request, as the end of its task; and its line in the log.
pub fn settle(outcome: Result<Outcome, Refusal>, arrival: &Arrival) -> String {
    let (status, end, said, code) = match outcome {
        Ok(Outcome::Forwarded(response)) => {
            (response.status, dress(&response, arrival), "forwarded", None)
        }
        Ok(Outcome::Answered(answer)) => {
            let body = if arrival.method == "HEAD" { "" } else { &answer.body };
            let mut fields = answer.fields;
            fields.push(("x-request-id", arrival.request_id.clone()));
            (answer.status, reply(answer.status, &fields, body), "answered", None)
        }
        Err(refusal) => {
            let (status, end) = refuse(refusal, arrival);
            (status, end, "refused", Some(refusal.code()))
        }
    };
    let ms = host::now_ms().saturating_sub(arrival.now_ms);
    let ending = Ending { outcome: said, code, status, ms };
    metrics::count(&ending, arrival);
    if arrival.trace.logs(code.is_some()) {
        log(&ending, arrival);
    }
    end
}

/// One line a request. What is as ever is left out.
fn log(ending: &Ending<'_>, arrival: &Arrival) {
    let (trace, (status, code)) = (&arrival.trace, (ending.status, ending.code));
    let level = if code.is_some() && status >= 500 { "warn" } else { "info" };
    let mut line = Line::new(level, "request", arrival);
    line.text("method", &arrival.method);
    line.text_or_null("route", trace.route.get().map(|route| route.name.as_str()));
    line.text("outcome", ending.outcome);
    line.text_or_null("code", code);
    line.number("status", status.into());
    line.number("ms", ending.ms);
    line.text("colo", &arrival.colo);
    line.text("cache", trace.tier.get().map_or("", Tier::name));
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
    if let Some(left) =
        trace.limit_decisions.borrow().iter().filter_map(|decision| decision.left).min()
    {
        line.number("limit_left", left);
    }
    for (name, violated) in [("limits", trace.violated(false)), ("shadow", trace.violated(true))] {
        if !violated.is_empty() {
            line.value(name, &violated.into());
        }
    }
    if trace.shadowed_failures.get() {
        line.value("shadow_failures", &true.into());
    }
    if trace.unopened.get() {
        line.value("record_unopened", &true.into());
    }
    line.text("refresh", trace.refresh.get().unwrap_or_default());
    line.text("degraded", trace.degraded.get().unwrap_or_default());
    let not_closed =
        trace.policy.get().map(|policy| breakers::not_closed(policy)).unwrap_or_default();
    if !not_closed.is_empty() {
        let mut states = Map::new();
        for (name, state) in not_closed {
            states.insert(name, state.into());
        }
        line.value("breakers", &Value::Object(states));
    }
    host::log(&line.end());
}

/// The line of a panic. The request that met it has one of its own.
pub fn panic_line(place: &str) -> String {
    json!({ "level": "error", "event": "panic", "place": place }).to_string()
}

/// A line of the log, written without a detour: each request has one.
struct Line(String);

impl Line {
    fn new(level: &str, event: &str, arrival: &Arrival) -> Self {
        let id = &arrival.request_id;
        Self(format!(r#"{{"level":"{level}","event":"{event}","request_id":"{id}""#))
    }

    /// A member that is a text; an empty one is left out.
    fn text(&mut self, name: &str, text: &str) {
        let plain = |b: u8| (b' '..=b'~').contains(&b) && !matches!(b, b'"' | b'\\');
        if text.is_empty() {
            return;
        }
        if text.bytes().all(plain) {
            let _ = write!(self.0, r#","{name}":"{text}""#);
        } else {
            self.value(name, &text.into());
        }
    }

    fn text_or_null(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.value(name, &Value::Null),
        }
    }

    fn number(&mut self, name: &str, number: u64) {
        let _ = write!(self.0, r#","{name}":{number}"#);
    }

    fn value(&mut self, name: &str, value: &Value) {
        let _ = write!(self.0, r#","{name}":{value}"#);
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// The answer of whoever a request was for. It is handed on as it is, since a new response around the same
/// body costs as much as all of the policy; but for what the edge has to say itself.
fn dress(response: &Response, arrival: &Arrival) -> String {
    response.hold();
    let trace = &arrival.trace;
    let mut fields = told_fields(arrival, false);
    if trace.route.get().is_some_and(|route| route.access == Access::Auth) {
        // What carries tokens is for nobody's cache; what the auth service says of a document's stands.
        fields.push(("?cache-control", "no-store".to_owned()));
        fields.extend(["-server", "-via", "-x-powered-by"].map(|name| (name, String::new())));
    }
    let says_who_reads = trace.cors.get().is_some();
    if !says_who_reads && fields.is_empty() {
        return String::new();
    }
    fields.extend(cors_fields(arrival));
    fields.push(("x-request-id", arrival.request_id.clone()));
    format!("D{}{}", u8::from(says_who_reads), lines(&fields))
}

/// A page must be able to read a refusal, too.
fn cors_fields(arrival: &Arrival) -> Vec<(&'static str, String)> {
    arrival.trace.cors.get().map(|cors| cors.fields(&arrival.head())).unwrap_or_default()
}

/// What the edge tells of limits, of an outage, and of time.
fn told_fields(arrival: &Arrival, refused: bool) -> Vec<(&'static str, String)> {
    let (trace, mut fields) = (&arrival.trace, Vec::new());
    let limit_decisions = trace.limit_decisions.borrow();
    let told = |decision: &&LimitDecision<'_>| {
        !decision.limit.shadow
            && decision.left.is_some()
            && (decision.limit.headers || (refused && !decision.admitted))
    };
    let told: Vec<&LimitDecision<'_>> = limit_decisions.iter().filter(told).collect();
    if !told.is_empty() {
        // draft-ietf-httpapi-ratelimit-headers-11.
        let list = |item: fn(&LimitDecision<'_>) -> String| {
            told.iter().map(|decision| item(decision)).collect::<Vec<_>>().join(", ")
        };
        fields.push((
            "ratelimit-policy",
            list(|decision| {
                let limit = decision.limit;
                format!("\"{}\";q={};w={}", limit.name, decision.quota, limit.window_seconds)
            }),
        ));
        fields.push((
            "ratelimit",
            list(|decision| {
                let seconds = decision.more_ms.div_ceil(1000);
                let left = decision.left.unwrap_or_default();
                format!("\"{}\";r={left};t={seconds}", decision.limit.name)
            }),
        ));
    }
    if let Some(degraded) = trace.degraded.get() {
        fields.push(("portcullis-degraded", degraded.to_owned()));
    }
    if trace.policy.get().is_some_and(|policy| policy.observability.server_timing) {
        let total = host::now_ms().saturating_sub(arrival.now_ms);
        let tier = trace.tier.get().map(|tier| format!("cache;desc={}, ", tier.name()));
        let (store, provider) = (trace.store_ms.get(), trace.provider_ms.get());
        let upstream = trace.upstream_ms.get();
        fields.push(("server-timing", format!(
            "{}store;dur={store}, provider;dur={provider}, upstream;dur={upstream}, total;dur={total}",
            tier.unwrap_or_default(),
        )));
    }
    fields
}

fn lines(fields: &[(&str, String)]) -> String {
    let lines: Vec<&str> =
        fields.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
    lines.join("\n")
}

/// Problem details (RFC 9457) with the challenge of RFC 6750 section 3.
fn refuse(refusal: Refusal, arrival: &Arrival) -> (u16, String) {
    let (status, title, challenge) = manner(refusal);
    let mut fields = cors_fields(arrival);
    fields.extend(told_fields(arrival, true));
    fields.extend([
        ("content-type", "application/problem+json".to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("x-request-id", arrival.request_id.clone()),
    ]);
    if let Some(challenge) = challenge.field(refusal, arrival) {
        fields.push(("www-authenticate", challenge));
    }
    if let Some(seconds) = retry_after_seconds(refusal, arrival) {
        fields.push(("retry-after", seconds.to_string()));
    }
    let mut body = json!({
        "type": problem_type(refusal),
        "title": title,
        "status": status,
        "detail": refusal.to_string(),
        "code": refusal.code(),
        "request_id": arrival.request_id,
    });
    let violated = arrival.trace.violated(false);
    if let (Refusal::Denied(Denial::RateLimited { .. }), Some(body)) =
        (refusal, body.as_object_mut())
    {
        body.insert("violated-policies".to_owned(), violated.into());
    }
    (status, reply(status, &fields, &body.to_string()))
}

/// A response of our own, as entry.js reads it.
fn reply(status: u16, fields: &[(&str, String)], body: &str) -> String {
    format!("R{status}\n{}\n{}\n{body}", fields.len() * 2, lines(fields))
}

/// The types that draft-ietf-httpapi-ratelimit-headers-11 registers; others say no more than the status.
fn problem_type(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Denied(Denial::RateLimited { .. }) => {
            "https://iana.org/assignments/http-problem-types#quota-exceeded"
        }
        Refusal::Denied(Denial::TooManyInvalidTokens { .. }) => {
            "https://iana.org/assignments/http-problem-types#abnormal-usage-detected"
        }
        Refusal::Out(Outage::IntrospectionBusy) => {
            "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
        }
        Refusal::Denied(_) | Refusal::Misconfigured | Refusal::Out(_) => "about:blank",
    }
}

/// How a refusal is said in HTTP: the status, and the challenge where one belongs (RFC 6750 section 3).
fn manner(refusal: Refusal) -> (u16, &'static str, Challenge) {
    match refusal {
        Refusal::Denied(denial) => match denial {
            Denial::BodyIncomplete
            | Denial::BodyUnexpected
            | Denial::HostMalformed
            | Denial::PathAmbiguous => (400, "Bad Request", Challenge::None),
            Denial::BodyTooSlow => (408, "Request Timeout", Challenge::None),
            Denial::CredentialMalformed => {
                (400, "Bad Request", Challenge::Error("invalid_request"))
            }
            Denial::TokenMissing => (401, "Unauthorized", Challenge::Bare),
            Denial::AlgorithmRefused
            | Denial::AudienceMismatch
            | Denial::IssuerUnknown
            | Denial::KeyUnknown
            | Denial::SignatureInvalid
            | Denial::TokenExpired
            | Denial::TokenInactive
            | Denial::TokenMalformed
            | Denial::TokenNotYetValid
            | Denial::TokenRevoked
            | Denial::TokenTypeRefused
            | Denial::TokenNotRegistered => {
                (401, "Unauthorized", Challenge::Error("invalid_token"))
            }
            Denial::AddressRefused | Denial::ClaimInsufficient | Denial::CrossSiteDenied => {
                (403, "Forbidden", Challenge::None)
            }
            Denial::ScopeInsufficient => (403, "Forbidden", Challenge::Error("insufficient_scope")),
            Denial::RouteNotFound => (404, "Not Found", Challenge::None),
            Denial::BodyTooLarge => (413, "Content Too Large", Challenge::None),
            Denial::TooManyInvalidTokens { .. } | Denial::RateLimited { .. } => {
                (429, "Too Many Requests", Challenge::None)
            }
            Denial::HeadersTooLarge => (431, "Request Header Fields Too Large", Challenge::None),
        },
        Refusal::Misconfigured => (503, "Service Unavailable", Challenge::None),
        Refusal::Out(outage) => match outage {
            Outage::AuthBadResponse | Outage::UpstreamUnreachable => {
                (502, "Bad Gateway", Challenge::None)
            }
            Outage::IntrospectionBusy
            | Outage::IntrospectionBadResponse
            | Outage::IntrospectionTimeout
            | Outage::IntrospectionUnreachable
            | Outage::KeysUnavailable
            | Outage::AuthTimeout
            | Outage::AuthUnreachable
            | Outage::RefreshPending
            | Outage::StoreBadResponse
            | Outage::StoreTimeout
            | Outage::StoreUnreachable => (503, "Service Unavailable", Challenge::None),
            Outage::UpstreamTimeout => (504, "Gateway Timeout", Challenge::None),
        },
    }
}

/// What `WWW-Authenticate` says.
#[derive(Clone, Copy)]
enum Challenge {
    /// The scheme alone: no credential came, so there is no error in one.
    Bare,
    /// An error code of RFC 6750 section 3.1.
    Error(&'static str),
    None,
}

impl Challenge {
    fn field(self, refusal: Refusal, arrival: &Arrival) -> Option<String> {
        let mut parameters = match self {
            Self::Bare => Vec::new(),
            Self::Error(error) => {
                vec![format!("error=\"{error}\""), format!("error_description=\"{refusal}\"")]
            }
            Self::None => return None,
        };
        if let (Refusal::Denied(Denial::ScopeInsufficient), Some(route)) =
            (refusal, arrival.trace.route.get())
        {
            let scopes: Vec<&str> =
                route.scopes.iter().chain(&route.scopes_any).map(String::as_str).collect();
            parameters.push(format!("scope=\"{}\"", scopes.join(" ")));
        }
        // RFC 9728 section 5.1.
        if let Some(resource) =
            arrival.trace.policy.get().and_then(|policy| policy.resource.as_ref())
        {
            parameters.push(format!("resource_metadata=\"{}\"", metadata_url(resource)));
        }
        if parameters.is_empty() {
            return Some("Bearer".to_owned());
        }
        Some(format!("Bearer {}", parameters.join(", ")))
    }
}

/// When to come back. Whoever was refused for being too fast is spread over a tenth of the wait, or a second,
/// so that they don't come back all at once.
fn retry_after_seconds(refusal: Refusal, arrival: &Arrival) -> Option<u64> {
    match refusal {
        Refusal::Denied(
            Denial::RateLimited { wait_ms } | Denial::TooManyInvalidTokens { wait_ms },
        ) => {
            let spread_ms =
                (wait_ms / 10).max(1000) * u64::from(arrival.jitter()) / u64::from(u32::MAX);
            Some((wait_ms + spread_ms).div_ceil(1000).max(1))
        }
        Refusal::Denied(_) => None,
        Refusal::Misconfigured => Some(60),
        Refusal::Out(outage) => {
            let retry = arrival.trace.retry.get().filter(|(cause, _)| *cause == outage);
            Some(retry.map_or(1, |(_, wait_ms)| wait_ms.div_ceil(1000).max(1)))
        }
    }
}
