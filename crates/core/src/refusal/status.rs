//! The status of a refusal, and its challenge.

use super::{Denial, Outage, Refusal};

impl Refusal {
    /// Returns the status of a refusal, the title of its problem details (RFC 9457), and its
    /// challenge (RFC 6750 section 3).
    pub fn status_and_challenge(self) -> (u16, &'static str, Challenge) {
        match self {
            Self::Denied(denial) => match denial {
                Denial::BodyIncomplete
                | Denial::BodyUnexpected
                | Denial::EventMalformed
                | Denial::EventRefused
                | Denial::HostMalformed
                | Denial::PathAmbiguous
                | Denial::SubjectRefused => (400, "Bad Request", Challenge::None),
                Denial::BodyTooSlow => (408, "Request Timeout", Challenge::None),
                Denial::CredentialMalformed => {
                    (400, "Bad Request", Challenge::Error("invalid_request"))
                }
                Denial::MetricsTokenInvalid | Denial::TokenMissing => {
                    (401, "Unauthorized", Challenge::Bare)
                }
                Denial::AlgorithmRefused
                | Denial::AudienceMismatch
                | Denial::AuthorizedPartyRefused
                | Denial::ClaimMissing(_)
                | Denial::EventTypeRefused
                | Denial::IssuerRefused
                | Denial::IssuerUnknown
                | Denial::KeyUnknown
                | Denial::SignatureInvalid
                | Denial::TenantRefused
                | Denial::TokenEncrypted
                | Denial::TokenExpired
                | Denial::TokenInactive
                | Denial::TokenMalformed
                | Denial::TokenNotYetValid
                | Denial::TokenRevoked
                | Denial::TokenTypeRefused
                | Denial::TokenNotRegistered => {
                    (401, "Unauthorized", Challenge::Error("invalid_token"))
                }
                Denial::InsufficientUserAuthentication(_) => {
                    (401, "Unauthorized", Challenge::Error("insufficient_user_authentication"))
                }
                Denial::AddressRefused
                | Denial::Blocked
                | Denial::ClaimInsufficient
                | Denial::CrossSiteDenied
                | Denial::KeyNetworkDenied
                | Denial::RouteDenied => (403, "Forbidden", Challenge::None),
                Denial::ScopeInsufficient => {
                    (403, "Forbidden", Challenge::Error("insufficient_scope"))
                }
                Denial::RouteNotFound => (404, "Not Found", Challenge::None),
                Denial::MethodNotAllowed => (405, "Method Not Allowed", Challenge::None),
                Denial::BodyTooLarge => (413, "Content Too Large", Challenge::None),
                Denial::CreditsExhausted { .. }
                | Denial::TooManyInvalidTokens { .. }
                | Denial::RateLimited { .. } => (429, "Too Many Requests", Challenge::None),
                Denial::HeadersTooLarge => {
                    (431, "Request Header Fields Too Large", Challenge::None)
                }
            },
            Self::Misconfigured => (503, "Service Unavailable", Challenge::None),
            Self::Out(outage) => match outage {
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
}

/// The content of `WWW-Authenticate`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Challenge {
    /// The scheme alone, because there was no credential.
    Bare,
    /// An error code of RFC 6750 section 3.1 or RFC 9470 section 3.
    Error(&'static str),
    /// No challenge.
    None,
}
