//! Problem details (RFC 9457) for each refusal.

use portcullis_core::{Denial, Outage, Refusal, json_object_text};

/// Returns the body of a refusal, as JSON (RFC 9457 section 3). `exceeded` are the names of the
/// limits that the request exceeds.
pub fn body(refusal: Refusal, request_id: &str, exceeded: Vec<&str>) -> String {
    let (status, title, _) = refusal.status_and_challenge();
    let claim = match refusal {
        Refusal::Denied(
            Denial::ClaimMissing(claim) | Denial::InsufficientUserAuthentication(claim),
        ) => Some(claim.into()),
        _ => None,
    };
    let violated = match refusal {
        Refusal::Denied(Denial::CreditsExhausted { .. } | Denial::RateLimited { .. }) => {
            Some(exceeded.into())
        }
        _ => None,
    };
    json_object_text(vec![
        ("claim", claim),
        ("code", Some(refusal.code().into())),
        ("detail", Some(refusal.to_string().into())),
        ("request_id", Some(request_id.into())),
        ("status", Some(status.into())),
        ("title", Some(title.into())),
        ("type", Some(problem_type(refusal).into())),
        ("violated-policies", violated),
    ])
}

/// Returns a problem type that draft-ietf-httpapi-ratelimit-headers-11 registers. The type of all
/// other problems is their status alone.
fn problem_type(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Denied(Denial::CreditsExhausted { .. } | Denial::RateLimited { .. }) => {
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
