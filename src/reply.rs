//! The one place where a refusal becomes a response, and where a request is logged.

use crate::{Arrival, Trace, host};
use portcullis_core::{Denial, LogPolicy, Outage, Refusal};
use serde_json::json;

/// The response to a request, and its line in the log.
pub fn settle(
    outcome: Result<web_sys::Response, Refusal>,
    arrival: &Arrival,
    trace: &Trace,
) -> web_sys::Response {
    let (response, code) = match outcome {
        Ok(response) => (response, None),
        Err(refusal) => (refuse(refusal, arrival, trace), Some(refusal.code())),
    };
    if code.is_some() || trace.log != Some(LogPolicy::Refused) {
        let line = json!({
            "level": if code.is_some() && response.status() >= 500 { "warn" } else { "info" },
            "event": "request",
            "request_id": arrival.request_id,
            "method": arrival.head().method(),
            "route": trace.route.map(|route| route.name.as_str()),
            "outcome": if code.is_some() { "refused" } else { "forwarded" },
            "code": code,
            "status": response.status(),
            "ms": host::now_ms().saturating_sub(arrival.now_ms),
        });
        host::log(&line.to_string());
    }
    response
}

/// Problem details (RFC 9457) with the challenge of RFC 6750 section 3.
fn refuse(refusal: Refusal, arrival: &Arrival, trace: &Trace) -> web_sys::Response {
    let (status, title, challenge) = manner(refusal);
    let mut fields = vec![
        ("content-type", "application/problem+json".to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("x-request-id", arrival.request_id.clone()),
    ];
    if let Some(challenge) = challenge.field(refusal, trace) {
        fields.push(("www-authenticate", challenge));
    }
    if let Some(seconds) = retry_after_seconds(refusal) {
        fields.push(("retry-after", seconds.to_string()));
    }
    let fields: Vec<&str> = fields.iter().flat_map(|(name, value)| [*name, value]).collect();
    let body = json!({
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": refusal.to_string(),
        "code": refusal.code(),
        "request_id": arrival.request_id,
    });
    host::reply(status, &fields.join("\n"), &body.to_string())
}

/// How a refusal is said in HTTP: the status, and the challenge where one belongs (RFC 6750 section 3).
fn manner(refusal: Refusal) -> (u16, &'static str, Challenge) {
    match refusal {
        Refusal::Denied(denial) => match denial {
            Denial::BodyUnexpected | Denial::PathAmbiguous => (400, "Bad Request", Challenge::None),
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
            | Denial::TokenMalformed
            | Denial::TokenNotYetValid
            | Denial::TokenRevoked
            | Denial::TokenTypeRefused
            | Denial::TokenUnknown => (401, "Unauthorized", Challenge::Error("invalid_token")),
            Denial::ScopeInsufficient => (403, "Forbidden", Challenge::Error("insufficient_scope")),
            Denial::RouteUnknown => (404, "Not Found", Challenge::None),
            Denial::BodyTooLarge => (413, "Content Too Large", Challenge::None),
            Denial::RateLimited { .. } => (429, "Too Many Requests", Challenge::None),
            Denial::HeadTooLarge => (431, "Request Header Fields Too Large", Challenge::None),
        },
        Refusal::Misconfigured => (503, "Service Unavailable", Challenge::None),
        Refusal::Out(outage) => match outage {
            Outage::UpstreamUnreachable => (502, "Bad Gateway", Challenge::None),
            Outage::KeysUnavailable
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
        let error = match self {
            Self::Bare => return Some("Bearer".to_owned()),
            Self::Error(error) => error,
            Self::None => return None,
        };
        let mut field = format!("Bearer error=\"{error}\", error_description=\"{refusal}\"");
        if let (Refusal::Denied(Denial::ScopeInsufficient), Some(route)) = (refusal, trace.route) {
            field.push_str(&format!(", scope=\"{}\"", route.scopes.join(" ")));
        }
        Some(field)
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
