//! The failures of dependencies, for which their operators must act.

use std::fmt;

/// A dependency failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outage {
    /// This isolate has reached its rate of introspections.
    IntrospectionBusy,
    /// The provider returned an error, or a malformed response.
    IntrospectionBadResponse,
    /// The provider did not respond in time.
    IntrospectionTimeout,
    /// The provider can't be reached.
    IntrospectionUnreachable,
    /// The issuer's key set can't be fetched.
    KeysUnavailable,
    /// The auth service returned an error that must not reach clients.
    AuthBadResponse,
    /// The auth service did not respond in time.
    AuthTimeout,
    /// The auth service can't be reached.
    AuthUnreachable,
    /// This isolate has too many open requests, or they hold too many bytes.
    Overloaded,
    /// Another refresh with the same token takes too long.
    RefreshPending,
    /// The store returned an error, or a malformed response.
    StoreBadResponse,
    /// The store did not respond in time.
    StoreTimeout,
    /// The store can't be reached.
    StoreUnreachable,
    /// The upstream did not respond in time.
    UpstreamTimeout,
    /// The upstream can't be reached.
    UpstreamUnreachable,
}

impl Outage {
    /// Returns the stable code that clients may rely on.
    pub fn code(self) -> &'static str {
        match self {
            Self::IntrospectionBusy => "introspection_busy",
            Self::IntrospectionBadResponse => "introspection_bad_response",
            Self::IntrospectionTimeout => "introspection_timeout",
            Self::IntrospectionUnreachable => "introspection_unreachable",
            Self::KeysUnavailable => "keys_unavailable",
            Self::AuthBadResponse => "auth_bad_response",
            Self::AuthTimeout => "auth_timeout",
            Self::AuthUnreachable => "auth_unreachable",
            Self::Overloaded => "overloaded",
            Self::RefreshPending => "refresh_pending",
            Self::StoreBadResponse => "store_bad_response",
            Self::StoreTimeout => "store_timeout",
            Self::StoreUnreachable => "store_unreachable",
            Self::UpstreamTimeout => "upstream_timeout",
            Self::UpstreamUnreachable => "upstream_unreachable",
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IntrospectionBusy => "too many tokens are being introspected; retry later",
            Self::IntrospectionBadResponse => "the token's provider returned an error",
            Self::IntrospectionTimeout => "the token's provider did not respond in time",
            Self::IntrospectionUnreachable => "the token's provider can't be reached",
            Self::KeysUnavailable => "the issuer's key set is unavailable",
            Self::AuthBadResponse => "the auth service returned an error",
            Self::AuthTimeout => "the auth service did not respond in time",
            Self::AuthUnreachable => "the auth service can't be reached",
            Self::Overloaded => "too many requests are open; retry later",
            Self::RefreshPending => "another refresh with this token is in progress; retry later",
            Self::StoreBadResponse => "the token store returned an error",
            Self::StoreTimeout => "the token store did not respond in time",
            Self::StoreUnreachable => "the token store can't be reached",
            Self::UpstreamTimeout => "the API did not respond in time",
            Self::UpstreamUnreachable => "the API can't be reached",
        })
    }
}
