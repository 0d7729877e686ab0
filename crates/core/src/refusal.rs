//! The reasons why a request is refused, by who must act: the caller ([`Denial`]) or the operator
//! of a dependency ([`Outage`]). The HTTP form of a refusal is in `status.rs`.

mod outage;
pub(crate) mod status;

pub use outage::Outage;

use std::fmt;

/// The caller must change the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denial {
    /// The client's address is on the deny list, or missing from the allow list.
    AddressRefused,
    /// The token's `alg` differs from its key's, or the issuer does not allow it.
    AlgorithmRefused,
    /// The token is for another audience (`aud`).
    AudienceMismatch,
    /// The token was issued to a client (`azp`) that its issuer's settings do not list.
    AuthorizedPartyRefused,
    /// The caller or its address is blocked.
    Blocked,
    /// The body ended before its announced length, or can't be read.
    BodyIncomplete,
    /// The body is longer than the route accepts.
    BodyTooLarge,
    /// The body took longer than the timeout of the call that it belongs to.
    BodyTooSlow,
    /// A GET or HEAD request announces a body, which the platform can't forward.
    BodyUnexpected,
    /// The token is valid, but lacks the claims that the route requires.
    ClaimInsufficient,
    /// The token lacks this claim, which every access token must have.
    ClaimMissing(&'static str),
    /// The credential does not have the form of RFC 6750 section 2.1, or there are two.
    CredentialMalformed,
    /// Too many invalid tokens came from the client's address.
    TooManyInvalidTokens {
        /// The time until the next unknown token is verified, in milliseconds.
        wait_ms: u64,
    },
    /// The body is not an event of a known format, or the event lacks what its type needs.
    EventMalformed,
    /// The credits that a limit counts are exhausted.
    CreditsExhausted {
        /// The time until this request would be admitted, in milliseconds; 0 if there is none.
        wait_ms: u64,
    },
    /// The issuer's events are not accepted in this format.
    EventRefused,
    /// The signed token is not an event (`typ`).
    EventTypeRefused,
    /// The request has too many header fields.
    HeadersTooLarge,
    /// The host is not one name with an optional port, or there are two hosts.
    HostMalformed,
    /// The token is valid, but this claim of it does not have the class or the time of the login
    /// that the route requires (RFC 9470).
    InsufficientUserAuthentication(&'static str),
    /// The token's issuer is trusted, but not for this route.
    IssuerRefused,
    /// The token's issuer (`iss`) is not trusted.
    IssuerUnknown,
    /// The API key may not be used from the client's address.
    KeyNetworkDenied,
    /// The issuer has no key of that `kid`.
    KeyUnknown,
    /// The request for the edge's metrics lacks their token.
    MetricsTokenInvalid,
    /// Routes match the path, but none accepts the method.
    MethodNotAllowed,
    /// A cookie came with a state-changing request from a page of another site.
    CrossSiteDenied,
    /// The path has more than one reading: encoded slashes, dot segments, empty segments, NUL.
    PathAmbiguous,
    /// A limit of the route is exhausted.
    RateLimited {
        /// The time until this request would be admitted, in milliseconds.
        wait_ms: u64,
    },
    /// The route denies every request.
    RouteDenied,
    /// No route matches.
    RouteNotFound,
    /// The token is valid, but lacks the scope that the route requires.
    ScopeInsufficient,
    /// The signature is invalid.
    SignatureInvalid,
    /// The event's subject is another issuer's, or no token can be found by it.
    SubjectRefused,
    /// The token's tenant (`tid`) is not the one in its `iss`, or not one of its issuer's.
    TenantRefused,
    /// The token is encrypted (a JWE), so that only its issuer can read it.
    TokenEncrypted,
    /// The token's `exp` has passed.
    TokenExpired,
    /// The provider reports the token as inactive.
    TokenInactive,
    /// The token is not a JWS in compact form whose header and claims are well typed.
    TokenMalformed,
    /// The request has no credential.
    TokenMissing,
    /// The token's `nbf` or `iat` is in the future.
    TokenNotYetValid,
    /// The token, its session or its subject was revoked.
    TokenRevoked,
    /// The token is not a Bearer access token, or lacks what its issuer's settings require.
    TokenTypeRefused,
    /// The token's record is not in the store: the token has ended, or was never registered.
    TokenNotRegistered,
}

impl Denial {
    /// Returns whether the refusal is a sign of guessed tokens. A client whose token has expired,
    /// or that has none yet, is not guessing.
    pub fn is_guess(self) -> bool {
        match self {
            Self::AlgorithmRefused
            | Self::AudienceMismatch
            | Self::AuthorizedPartyRefused
            | Self::ClaimMissing(_)
            | Self::IssuerUnknown
            | Self::KeyUnknown
            | Self::SignatureInvalid
            | Self::TenantRefused
            | Self::TokenEncrypted
            | Self::TokenInactive
            | Self::TokenMalformed
            | Self::TokenTypeRefused => true,
            Self::AddressRefused
            | Self::Blocked
            | Self::BodyIncomplete
            | Self::BodyTooLarge
            | Self::BodyTooSlow
            | Self::BodyUnexpected
            | Self::ClaimInsufficient
            | Self::CredentialMalformed
            | Self::EventMalformed
            | Self::CreditsExhausted { .. }
            | Self::EventRefused
            | Self::EventTypeRefused
            | Self::TooManyInvalidTokens { .. }
            | Self::HeadersTooLarge
            | Self::HostMalformed
            | Self::InsufficientUserAuthentication(_)
            | Self::IssuerRefused
            | Self::KeyNetworkDenied
            | Self::MetricsTokenInvalid
            | Self::MethodNotAllowed
            | Self::CrossSiteDenied
            | Self::PathAmbiguous
            | Self::RateLimited { .. }
            | Self::RouteDenied
            | Self::RouteNotFound
            | Self::ScopeInsufficient
            | Self::SubjectRefused
            | Self::TokenExpired
            | Self::TokenMissing
            | Self::TokenNotYetValid
            | Self::TokenRevoked
            | Self::TokenNotRegistered => false,
        }
    }

    /// Returns the stable code that clients may rely on. docs/errors.md lists all codes.
    pub fn code(self) -> &'static str {
        match self {
            Self::AddressRefused => "address_refused",
            Self::AlgorithmRefused => "algorithm_refused",
            Self::AudienceMismatch => "audience_mismatch",
            Self::AuthorizedPartyRefused => "authorized_party_refused",
            Self::Blocked => "blocked",
            Self::BodyIncomplete => "body_incomplete",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyUnexpected => "body_unexpected",
            Self::ClaimInsufficient => "claim_insufficient",
            Self::ClaimMissing(_) => "claim_missing",
            Self::CredentialMalformed => "credential_malformed",
            Self::CreditsExhausted { .. } => "credits_exhausted",
            Self::TooManyInvalidTokens { .. } => "too_many_invalid_tokens",
            Self::EventMalformed => "event_malformed",
            Self::EventRefused => "event_refused",
            Self::EventTypeRefused => "event_type_refused",
            Self::HeadersTooLarge => "headers_too_large",
            Self::HostMalformed => "host_malformed",
            Self::InsufficientUserAuthentication(_) => "insufficient_user_authentication",
            Self::IssuerRefused => "issuer_refused",
            Self::IssuerUnknown => "issuer_unknown",
            Self::KeyNetworkDenied => "key_network_denied",
            Self::KeyUnknown => "key_unknown",
            Self::MetricsTokenInvalid => "metrics_token_invalid",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::CrossSiteDenied => "cross_site_denied",
            Self::PathAmbiguous => "path_ambiguous",
            Self::RateLimited { .. } => "rate_limited",
            Self::RouteDenied => "route_denied",
            Self::RouteNotFound => "route_not_found",
            Self::ScopeInsufficient => "scope_insufficient",
            Self::SignatureInvalid => "signature_invalid",
            Self::SubjectRefused => "subject_refused",
            Self::TenantRefused => "tenant_refused",
            Self::TokenEncrypted => "token_encrypted",
            Self::TokenExpired => "token_expired",
            Self::TokenInactive => "token_inactive",
            Self::TokenMalformed => "token_malformed",
            Self::TokenMissing => "token_missing",
            Self::TokenNotYetValid => "token_not_yet_valid",
            Self::TokenRevoked => "token_revoked",
            Self::TokenTypeRefused => "token_type_refused",
            Self::TokenNotRegistered => "token_not_registered",
        }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AddressRefused => "requests from this address are refused",
            Self::AlgorithmRefused => {
                "the token's algorithm (alg) is not allowed for its issuer or key"
            }
            Self::AudienceMismatch => "the token's audience (aud) does not include this API",
            Self::AuthorizedPartyRefused => "the token's client (azp) may not use this API",
            Self::Blocked => "the caller is blocked",
            Self::BodyIncomplete => "the request body ended early",
            Self::BodyTooLarge => "the request body is too large",
            Self::BodyTooSlow => "the request body came too slowly",
            Self::BodyUnexpected => "a GET or HEAD request can't have a body",
            Self::ClaimInsufficient => "the token lacks a claim that this route requires",
            Self::ClaimMissing(claim) => return write!(f, "the token lacks the claim {claim}"),
            Self::CredentialMalformed => "the credential is malformed; send one Bearer token",
            Self::CreditsExhausted { .. } => "the credits for these requests are exhausted",
            Self::TooManyInvalidTokens { .. } => "too many invalid tokens came from this address",
            Self::EventMalformed => {
                "the body is not an event of a known format, or lacks what its type needs"
            }
            Self::EventRefused => "the issuer's events are not accepted in this format",
            Self::EventTypeRefused => "the token's typ is not that of an event of this format",
            Self::HeadersTooLarge => "the request has too many header fields",
            Self::HostMalformed => "the Host header must name one host",
            Self::InsufficientUserAuthentication(claim) => {
                return write!(
                    f,
                    "the user must log in again; the token's {claim} is not enough for this route"
                );
            }
            Self::IssuerRefused => "this route does not accept the token's issuer",
            Self::IssuerUnknown => "the token's issuer is not trusted",
            Self::KeyNetworkDenied => "the API key may not be used from this address",
            Self::KeyUnknown => "the token's issuer has no key with its key id (kid)",
            Self::MetricsTokenInvalid => {
                "the metrics need their own token, as Authorization: Bearer"
            }
            Self::MethodNotAllowed => "this path does not allow the method; see Allow",
            Self::CrossSiteDenied => "the request comes from a page of another site",
            Self::PathAmbiguous => "the path can be read in more than one way; send its plain form",
            Self::RateLimited { .. } => "too many requests",
            Self::RouteDenied => "requests to this path are denied",
            Self::RouteNotFound => "no route matches this path",
            Self::ScopeInsufficient => "the token lacks a scope that this route requires",
            Self::SignatureInvalid => "the token's signature is invalid",
            Self::SubjectRefused => {
                "the event's subject is another issuer's, or no token can be found by it"
            }
            Self::TenantRefused => "this API does not accept the token's tenant (tid)",
            Self::TokenEncrypted => {
                "the token is encrypted; ask the issuer for a token for this API"
            }
            Self::TokenExpired => "the token has expired",
            Self::TokenInactive => "the token's issuer reports that it is not active",
            Self::TokenMalformed => "the token is malformed",
            Self::TokenMissing => "an access token is required",
            Self::TokenNotYetValid => "the token is not valid yet",
            Self::TokenRevoked => "the token was revoked",
            Self::TokenTypeRefused => "the token is not a Bearer access token of its issuer",
            Self::TokenNotRegistered => "the token has no record in the store",
        })
    }
}

/// The reason for not forwarding a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refusal {
    /// The caller must act.
    Denied(Denial),
    /// The edge's configuration is invalid. The edge serves nothing until it is corrected.
    Misconfigured,
    /// The operator of the dependency must act.
    Out(Outage),
}

impl Refusal {
    /// Returns the stable code that clients may rely on.
    pub fn code(self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.code(),
            Self::Misconfigured => "configuration_invalid",
            Self::Out(outage) => outage.code(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(denial) => denial.fmt(f),
            Self::Misconfigured => f.write_str("the edge's configuration is invalid; see its log"),
            Self::Out(outage) => outage.fmt(f),
        }
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<Outage> for Refusal {
    fn from(outage: Outage) -> Self {
        Self::Out(outage)
    }
}

#[cfg(test)]
mod tests;
