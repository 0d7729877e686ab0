//! Warnings about a valid configuration.

use std::fmt;

/// A warning about a valid configuration. Its text says what to change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigWarning {
    /// Routes send assertions with the same audience to different upstreams. Each upstream could
    /// use one at another upstream.
    AssertionShared {
        /// The names of the routes.
        routes: String,
    },
    /// There are several issuers, and these routes accept tokens of all of them.
    IssuersShared {
        /// The names of the routes.
        routes: String,
    },
    /// A later route accepts other methods on a protected route's paths, and requires less.
    LaterAsksLess {
        /// The protected route.
        route: String,
        /// The later route.
        later: String,
        /// The members that require less.
        less: String,
    },
    /// A later route names no methods, so it never gets a protected route's paths.
    LaterUnreached {
        /// The protected route.
        route: String,
        /// The later route.
        later: String,
    },
    /// Routes recheck streams of tokens whose revocations do not reach the store.
    RechecksVain {
        /// The names of the routes.
        routes: String,
    },
    /// A route matches a later route's paths with suffixes, and its `suffixes` is not set.
    SuffixesKept {
        /// The route.
        route: String,
        /// The later route.
        later: String,
    },
}

impl ConfigWarning {
    /// Returns the name by which the policy can accept the warning.
    pub fn name(&self) -> String {
        match self {
            Self::AssertionShared { .. } => "assertion_shared".to_owned(),
            Self::IssuersShared { .. } => "issuers_shared".to_owned(),
            Self::LaterAsksLess { route, later, .. } => format!("later_asks_less:{route}:{later}"),
            Self::LaterUnreached { route, later } => format!("later_unreached:{route}:{later}"),
            Self::RechecksVain { .. } => "rechecks_vain".to_owned(),
            Self::SuffixesKept { route, .. } => format!("suffixes_kept:{route}"),
        }
    }

    /// Returns the name of the route that the warning is about, if it is one.
    pub fn route(&self) -> Option<&str> {
        match self {
            Self::LaterAsksLess { route, .. }
            | Self::LaterUnreached { route, .. }
            | Self::SuffixesKept { route, .. } => Some(route),
            Self::AssertionShared { .. }
            | Self::IssuersShared { .. }
            | Self::RechecksVain { .. } => None,
        }
    }
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AssertionShared { routes } => write!(
                f,
                "routes: {routes} have different upstreams and one assertion audience; set \
                 assertion_audience on each"
            ),
            Self::IssuersShared { routes } => write!(
                f,
                "routes: {routes} accept the tokens of each of several issuers; set issuers on each \
                 route"
            ),
            Self::LaterAsksLess { route, later, less } => write!(
                f,
                "routes: {later} takes methods of {route}'s paths and asks for less ({less}); \
                 add what is missing, or remove the methods from {later}"
            ),
            Self::LaterUnreached { route, later } => write!(
                f,
                "routes: methods that {route} does not name get 405 on its paths, and never {later}; \
                 if {later} should take them, name them in its methods"
            ),
            Self::RechecksVain { routes } => write!(
                f,
                "routes: {routes} recheck streams of opaque tokens, and the store never learns of \
                 their revocation; set revocations_in_store of the issuer if the provider writes it, \
                 or else stream_seconds_max"
            ),
            Self::SuffixesKept { route, later } => write!(
                f,
                "routes: {route} takes its path with a suffix (/x.js of /x/*), and never {later}; \
                 set suffixes of {route}: same to keep that, distinct if it should be {later}"
            ),
        }
    }
}
