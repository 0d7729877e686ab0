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
    let (status, title) = status(refusal);
    let mut fields = vec![
        ("content-type", "application/problem+json".to_owned()),
        ("cache-control", "no-store".to_owned()),
        ("x-request-id", arrival.request_id.clone()),
    ];
    if let Some(challenge) = challenge(refusal, trace) {
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

fn status(refusal: Refusal) -> (u16, &'static str) {
    match refusal {
        Refusal::Denied(denial) => match denial {
            Denial::BodyUnexpected | Denial::CredentialMalformed | Denial::PathAmbiguous => {
                (400, "Bad Request")
            }
            Denial::AlgorithmRefused
            | Denial::AudienceMismatch
            | Denial::IssuerUnknown
            | Denial::KeyUnknown
            | Denial::SignatureInvalid
            | Denial::TokenExpired
            | Denial::TokenMalformed
            | Denial::TokenMissing
            | Denial::TokenNotYetValid
            | Denial::TokenRevoked
            | Denial::TokenTypeRefused
            | Denial::TokenUnknown => (401, "Unauthorized"),
            Denial::ScopeInsufficient => (403, "Forbidden"),
            Denial::RouteUnknown => (404, "Not Found"),
            Denial::BodyTooLarge => (413, "Content Too Large"),
            Denial::RateLimited { .. } => (429, "Too Many Requests"),
            Denial::HeadTooLarge => (431, "Request Header Fields Too Large"),
        },
        Refusal::Misconfigured => (503, "Service Unavailable"),
        Refusal::Out(outage) => match outage {
            Outage::UpstreamUnreachable => (502, "Bad Gateway"),
            Outage::KeysUnavailable
            | Outage::OriginTimeout
            | Outage::OriginUnreachable
            | Outage::StoreFaulty
            | Outage::StoreTimeout
            | Outage::StoreUnreachable => (503, "Service Unavailable"),
            Outage::UpstreamTimeout => (504, "Gateway Timeout"),
        },
    }
}

fn challenge(refusal: Refusal, trace: &Trace) -> Option<String> {
    let Refusal::Denied(denial) = refusal else {
        return None;
    };
    let error = match denial {
        Denial::TokenMissing => return Some("Bearer".to_owned()),
        Denial::CredentialMalformed => "invalid_request",
        Denial::ScopeInsufficient => "insufficient_scope",
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
        | Denial::TokenUnknown => "invalid_token",
        Denial::BodyTooLarge
        | Denial::BodyUnexpected
        | Denial::HeadTooLarge
        | Denial::PathAmbiguous
        | Denial::RateLimited { .. }
        | Denial::RouteUnknown => return None,
    };
    let mut challenge = format!("Bearer error=\"{error}\", error_description=\"{denial}\"");
    if let (Denial::ScopeInsufficient, Some(route)) = (denial, trace.route) {
        challenge.push_str(&format!(", scope=\"{}\"", route.scopes.join(" ")));
    }
    Some(challenge)
}

fn retry_after_seconds(refusal: Refusal) -> Option<u64> {
    match refusal {
        Refusal::Denied(Denial::RateLimited { retry_after_seconds }) => Some(retry_after_seconds),
        Refusal::Denied(_) => None,
        Refusal::Misconfigured => Some(60),
        Refusal::Out(_) => Some(1),
    }
}
