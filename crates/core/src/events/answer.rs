//! The responses to events.

use crate::policy::events::EventFormat;
use crate::refusal::{Denial, Refusal};
use crate::routing::Answer;

impl EventFormat {
    /// Returns the response to an event that was accepted.
    pub fn answer(self) -> Answer {
        let status = match self {
            Self::Logout => 200,
            Self::SecurityEvent => 202,
            Self::GlobalRevocation => 204,
        };
        let fields = vec![("cache-control", "no-store".to_owned())];
        Answer { status, fields, body: String::new() }
    }

    /// Returns the body with which a refused event is answered 400 (RFC 8935 section 2.3, OpenID
    /// Connect Back-Channel Logout 1.0 section 2.8). Returns `None` if the format or the refusal
    /// has none: it is answered as those of other routes.
    pub fn refusal_body(self, refusal: Refusal, request_id: &str) -> Option<String> {
        let (status, ..) = refusal.status_and_challenge();
        let Refusal::Denied(denial) = refusal else {
            return None;
        };
        let (error, error_code, description) = match self {
            Self::Logout => ("error", "invalid_request", "error_description"),
            Self::SecurityEvent => ("err", error_code(denial), "description"),
            Self::GlobalRevocation => return None,
        };
        // No text of a denial has a character that JSON escapes: the tests read each one.
        matches!(status, 400 | 401).then(|| {
            format!(
                r#"{{"{error}":"{error_code}","{description}":"{denial}","code":"{}","request_id":"{request_id}"}}"#,
                denial.code()
            )
        })
    }
}

/// Returns the error code of RFC 8935 section 2.4.
fn error_code(denial: Denial) -> &'static str {
    match denial {
        Denial::AlgorithmRefused | Denial::KeyUnknown | Denial::SignatureInvalid => "invalid_key",
        Denial::AudienceMismatch => "invalid_audience",
        Denial::EventRefused => "access_denied",
        Denial::IssuerUnknown => "invalid_issuer",
        _ => "invalid_request",
    }
}
