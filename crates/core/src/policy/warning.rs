//! Warnings about a valid configuration.

use std::fmt;

/// A warning about a valid configuration. Its text says what to change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConfigWarning {
    /// These issuers have API keys and no introspection, so that a lost record refuses its key.
    ApiKeysUnconfirmed {
        /// The names of the issuers.
        issuers: String,
    },
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
    /// A route takes its paths with a suffix, such as `/x.json`, although a later one would require
    /// less.
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
            Self::ApiKeysUnconfirmed { .. } => "api_keys_unconfirmed".to_owned(),
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
            Self::ApiKeysUnconfirmed { .. }
            | Self::AssertionShared { .. }
            | Self::IssuersShared { .. }
            | Self::RechecksVain { .. } => None,
        }
    }
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ApiKeysUnconfirmed { issuers } => write!(
                f,
                "issuers: {issuers} have api_key_prefixes without introspection, so a key whose \
                 record the store lost is refused until it is published again; add introspection"
            ),
            Self::AssertionShared { routes } => write!(
                f,
                "routes: {routes} have different upstreams but the same assertion audience; set \
                 assertion_audience on each"
            ),
            Self::IssuersShared { routes } => write!(
                f,
                "routes: {routes} accept the tokens of all issuers; set issuers on each route"
            ),
            Self::LaterAsksLess { route, later, less } => write!(
                f,
                "routes: {later} takes other methods of {route}'s paths and requires less ({less}); \
                 set these members on {later} as on {route}, or remove the methods from {later}"
            ),
            Self::LaterUnreached { route, later } => write!(
                f,
                "routes: on the paths of {route}, a method that it does not name gets 405 and never \
                 reaches {later}; if {later} should take such a method, add it to its methods"
            ),
            Self::RechecksVain { routes } => write!(
                f,
                "routes: {routes} recheck the streams of opaque tokens in the store, which does not \
                 receive their revocations; set revocations_in_store of the issuer if its provider \
                 writes them, otherwise set stream_seconds_max of the routes"
            ),
            Self::SuffixesKept { route, later } => write!(
                f,
                "routes: a path of {route} with a suffix (/x.js of /x/*) goes to {route}, never to \
                 {later}; set suffixes of {route} to same to keep that, or to distinct to let \
                 {later} take it"
            ),
        }
    }
}
