//! Problem details (RFC 9457) for each refusal.

use portcullis_core::{Denial, Outage, Refusal};
use serde_json::json;

/// Returns the body of a refusal, as JSON (RFC 9457 section 3). `exceeded` are the names of the
/// limits that the request exceeds.
pub fn body(refusal: Refusal, request_id: &str, exceeded: Vec<&str>) -> String {
    let (status, title, _) = refusal.status_and_challenge();
    let mut body = json!({
        "type": problem_type(refusal),
        "title": title,
        "status": status,
        "detail": refusal.to_string(),
        "code": refusal.code(),
        "request_id": request_id,
    });
    if let (Refusal::Denied(denial), Some(body)) = (refusal, body.as_object_mut()) {
        match denial {
            Denial::RateLimited { .. } => {
                body.insert("violated-policies".to_owned(), exceeded.into());
            }
            Denial::ClaimMissing(claim) | Denial::InsufficientUserAuthentication(claim) => {
                body.insert("claim".to_owned(), claim.into());
            }
            _ => {}
        }
    }
    body.to_string()
}

/// Returns a problem type that draft-ietf-httpapi-ratelimit-headers-11 registers. The type of all
/// other problems is their status alone.
fn problem_type(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Denied(Denial::RateLimited { .. }) => {
            "https://iana.org/assignments/http-problem-types#quota-exceeded"
        }
        Refusal::Denied(Denial::TooManyInvalidTokens { .. }) => {
            "https://iana.org/assignments/http-problem-types#abnormal-usage-detected"
        }
        Refusal::Out(Outage::IntrospectionBusy | Outage::Overloaded) => {
            "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
        }
        Refusal::Denied(_) | Refusal::Misconfigured | Refusal::Out(_) => "about:blank",
    }
}
