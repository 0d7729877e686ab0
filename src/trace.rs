//! The observations about a request for the log, the informational headers and the metrics. They
//! influence no decision.

use portcullis_core::{
    EventFormat, LimitDecision, ReceivedClaims, RevocationMarker, VerifiedToken,
};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// The observations about one request. Each step records its own.
#[derive(Default)]
pub struct Trace {
    /// Where the verdict on the token came from.
    pub verdict_source: Cell<Option<VerdictSource>>,
    /// How long before the store was asked for the clearance that the isolate has of the token.
    pub clearance_age_ms: Cell<Option<u64>>,
    /// The path, without the query.
    pub path: RefCell<String>,
    /// The group of the client's address, as the log shows it.
    pub address: RefCell<String>,
    /// The caller, if the policy logs it.
    pub subject: RefCell<Option<String>>,
    /// The token of the caller, once it is verified.
    pub token: RefCell<Option<Rc<VerifiedToken>>>,
    /// The unverified claims of a refused request's token.
    pub received: RefCell<Option<ReceivedClaims>>,
    /// The marker that revoked the token, or that blocked the caller.
    pub marker: Cell<Option<RevocationMarker>>,
    /// The `kid` of the key that the token was verified with.
    pub kid: RefCell<Option<Rc<str>>>,
    /// The ms spent waiting for the store.
    pub store_ms: Cell<u64>,
    /// The ms spent waiting for the token's provider.
    pub provider_ms: Cell<u64>,
    /// The ms spent waiting for the upstream or the auth service.
    pub upstream_ms: Cell<u64>,
    /// Whether the store had a record of the token that could not be decrypted.
    pub record_unopened: Cell<bool>,
    /// The decisions of the limits.
    pub limit_decisions: RefCell<Vec<LimitDecision<'static>>>,
    /// Whether the limit of invalid tokens, which is in shadow, would have refused the request.
    pub shadow_failure_limit: Cell<bool>,
    /// The code of the refusal that the route, in shadow, does not enforce.
    pub would_refuse: Cell<Option<&'static str>>,
    /// The claim that the token lacks, or whose value is not enough for the route.
    pub missing_claim: Cell<Option<&'static str>>,
    /// The format of a pushed event.
    pub event_format: Cell<Option<EventFormat>>,
    /// The type of a pushed event whose signature is good.
    pub event: Cell<Option<&'static str>>,
    /// The result of that event.
    pub event_result: Cell<Option<&'static str>>,
    /// How a refresh was answered.
    pub refresh: Cell<Option<&'static str>>,
    /// What was decided without the store.
    pub degraded: Cell<Option<&'static str>>,
}

/// Where the verdict on a token came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum VerdictSource {
    /// The isolate's cache.
    Isolate,
    /// The store.
    Store,
    /// The token's provider.
    Provider,
    /// The signature alone.
    Signature,
}

/// Whether a limit refuses requests or only observes them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Enforcement {
    Enforced,
    Shadow,
}

impl VerdictSource {
    /// Returns the name in logs, metrics and `Server-Timing`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Isolate => "isolate",
            Self::Store => "store",
            Self::Provider => "provider",
            Self::Signature => "signature",
        }
    }
}

impl Trace {
    /// Records the request's path and client address. A long path is cut off.
    pub fn describe(&self, path: &str, address: String) {
        let end = path.char_indices().map(|(at, _)| at).find(|at| *at >= PATH_BYTES_MAX);
        self.path.replace(path.get(..end.unwrap_or(path.len())).unwrap_or_default().to_owned());
        self.address.replace(address);
    }

    /// Returns the names of the limits that the request exceeds.
    pub fn exceeded_limits(&self, enforcement: Enforcement) -> Vec<&'static str> {
        let limit_decisions = self.limit_decisions.borrow();
        let shadow = enforcement == Enforcement::Shadow;
        let exceeded = limit_decisions
            .iter()
            .filter(|decision| !decision.admitted && decision.limit.shadow == shadow);
        exceeded.map(|decision| decision.limit.name.as_str()).collect()
    }
}

const PATH_BYTES_MAX: usize = 256;
