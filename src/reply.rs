//! The one place where a refusal becomes a response, and where a request is logged.

use crate::{Arrival, Outcome, Trace, host};
use portcullis_core::{Denial, Outage, Refusal, metadata_url};
use serde_json::json;

/// The response to a request, and its line in the log.
pub fn settle(
    outcome: Result<Outcome, Refusal>,
    arrival: &Arrival,
    trace: &Trace,
) -> web_sys::Response {
    let (response, said, code) = match outcome {
        Ok(Outcome::Forwarded(response)) => (dress(response, arrival, trace), "forwarded", None),
        Ok(Outcome::Answered(answer)) => {
            let body = if arrival.head().method() == "HEAD" { "" } else { &answer.body };
            let mut fields = answer.fields;
            fields.push(("x-request-id", arrival.request_id.clone()));
            (host::reply(answer.status, &lines(&fields), body), "answered", None)
        }
        Err(refusal) => (refuse(refusal, arrival, trace), "refused", Some(refusal.code())),
    };
    if trace.logs(code.is_some()) {
        let line = json!({
            "level": if code.is_some() && response.status() >= 500 { "warn" } else { "info" },
            "event": "request",
            "request_id": arrival.request_id,
            "method": arrival.head().method(),
            "route": trace.route.map(|route| route.name.as_str()),
            "outcome": said,
            "code": code,
            "status": response.status(),
            "ms": host::now_ms().saturating_sub(arrival.now_ms),
        });
        host::log(&line.to_string());
    }
    response
}

/// The answer of whoever a request was for. It is handed on as it is, since a new response around the same
/// body costs as much as all of the policy; but for what the policy says of cross-origin requests.
fn dress(response: web_sys::Response, arrival: &Arrival, trace: &Trace) -> web_sys::Response {
    if trace.cors.is_none() {
        return response;
    }
    let mut fields = cors_fields(arrival, trace);
    fields.push(("x-request-id", arrival.request_id.clone()));
    host::dress(response, &lines(&fields))
}

/// A page must be able to read a refusal, too.
fn cors_fields(arrival: &Arrival, trace: &Trace) -> Vec<(&'static str, String)> {
    trace.cors.map(|cors| cors.fields(&arrival.head())).unwrap_or_default()
}

fn lines(fields: &[(&'static str, String)]) -> String {
    let lines: Vec<&str> = fields.iter().flat_map(|(name, value)| [*name, value]).collect();
    lines.join("\n")
}

/// Problem details (RFC 9457) with the challenge of RFC 6750 section 3.
fn refuse(refusal: Refusal, arrival: &Arrival, trace: &Trace) -> web_sys::Response {
    let (status, title, challenge) = manner(refusal);
    let mut fields = cors_fields(arrival, trace);
    fields.extend([
        ("content-type", "application/problem+json".to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("x-request-id", arrival.request_id.clone()),
    ]);
    if let Some(challenge) = challenge.field(refusal, trace) {
        fields.push(("www-authenticate", challenge));
    }
    if let Some(seconds) = retry_after_seconds(refusal) {
        fields.push(("retry-after", seconds.to_string()));
    }
    let body = json!({
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": refusal.to_string(),
        "code": refusal.code(),
        "request_id": arrival.request_id,
    });
    host::reply(status, &lines(&fields), &body.to_string())
}

/// How a refusal is said in HTTP: the status, and the challenge where one belongs (RFC 6750 section 3).
fn manner(refusal: Refusal) -> (u16, &'static str, Challenge) {
    match refusal {
        Refusal::Denied(denial) => match denial {
            Denial::BodyUnexpected | Denial::HostMalformed | Denial::PathAmbiguous => {
                (400, "Bad Request", Challenge::None)
            }
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
            | Denial::TokenUnknown => (401, "Unauthorized", Challenge::Error("invalid_token")),
            Denial::ClaimInsufficient | Denial::OriginRefused => {
                (403, "Forbidden", Challenge::None)
            }
            Denial::ScopeInsufficient => (403, "Forbidden", Challenge::Error("insufficient_scope")),
            Denial::RouteUnknown => (404, "Not Found", Challenge::None),
            Denial::BodyTooLarge => (413, "Content Too Large", Challenge::None),
            Denial::RateLimited { .. } => (429, "Too Many Requests", Challenge::None),
            Denial::HeadTooLarge => (431, "Request Header Fields Too Large", Challenge::None),
        },
        Refusal::Misconfigured => (503, "Service Unavailable", Challenge::None),
        Refusal::Out(outage) => match outage {
            Outage::UpstreamUnreachable => (502, "Bad Gateway", Challenge::None),
            Outage::IntrospectionBusy
            | Outage::IntrospectionFaulty
            | Outage::IntrospectionTimeout
            | Outage::IntrospectionUnreachable
            | Outage::KeysUnavailable
            | Outage::OriginTimeout
            | Outage::OriginUnreachable
            | Outage::StoreFaulty
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
    fn field(self, refusal: Refusal, trace: &Trace) -> Option<String> {
        let mut parameters = match self {
            Self::Bare => Vec::new(),
            Self::Error(error) => {
                vec![format!("error=\"{error}\""), format!("error_description=\"{refusal}\"")]
            }
            Self::None => return None,
        };
        if let (Refusal::Denied(Denial::ScopeInsufficient), Some(route)) = (refusal, trace.route) {
            let scopes: Vec<&str> =
                route.scopes.iter().chain(&route.scopes_any).map(String::as_str).collect();
            parameters.push(format!("scope=\"{}\"", scopes.join(" ")));
        }
        // RFC 9728 section 5.1.
        if let Some(resource) = trace.policy.and_then(|policy| policy.resource.as_ref()) {
            parameters.push(format!("resource_metadata=\"{}\"", metadata_url(resource)));
        }
        if parameters.is_empty() {
            return Some("Bearer".to_owned());
        }
        Some(format!("Bearer {}", parameters.join(", ")))
    }
}

fn retry_after_seconds(refusal: Refusal) -> Option<u64> {
    match refusal {
        Refusal::Denied(Denial::RateLimited { retry_after_seconds }) => Some(retry_after_seconds),
        Refusal::Denied(_) => None,
        Refusal::Misconfigured => Some(60),
        Refusal::Out(_) => Some(1),
    }
}
