//! Problem details (RFC 9457) for each refusal.

use portcullis_core::{Denial, Outage, Refusal};
use serde_json::json;

/// Returns the body of a refusal. `exceeded` are the names of the limits that the request exceeds.
pub fn body(refusal: Refusal, request_id: &str, exceeded: Vec<&str>) -> String {
    let (status, title, _) = status_and_challenge(refusal);
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
            Denial::ClaimMissing(claim) => {
                body.insert("claim".to_owned(), claim.into());
            }
            _ => {}
        }
    }
    body.to_string()
}

/// Returns a type that draft-ietf-httpapi-ratelimit-headers-11 registers. Other problems say no
/// more than their status.
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

/// Returns the status of a refusal, its title, and its challenge (RFC 6750 section 3).
pub fn status_and_challenge(refusal: Refusal) -> (u16, &'static str, Challenge) {
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
            | Denial::ClaimMissing(_)
            | Denial::IssuerRefused
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
            Denial::AddressRefused
            | Denial::ClaimInsufficient
            | Denial::CrossSiteDenied
            | Denial::RouteDenied => (403, "Forbidden", Challenge::None),
            Denial::ScopeInsufficient => (403, "Forbidden", Challenge::Error("insufficient_scope")),
            Denial::RouteNotFound => (404, "Not Found", Challenge::None),
            Denial::MethodNotAllowed => (405, "Method Not Allowed", Challenge::None),
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
            | Outage::Overloaded
            | Outage::RefreshPending
            | Outage::StoreBadResponse
            | Outage::StoreTimeout
            | Outage::StoreUnreachable => (503, "Service Unavailable", Challenge::None),
            Outage::UpstreamTimeout => (504, "Gateway Timeout", Challenge::None),
        },
    }
}

/// The content of `WWW-Authenticate`.
#[derive(Clone, Copy)]
pub enum Challenge {
    /// The scheme alone, because there was no credential.
    Bare,
    /// An error code of RFC 6750 section 3.1.
    Error(&'static str),
    None,
}
