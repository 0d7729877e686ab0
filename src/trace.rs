//! What is known of a request beyond its outcome: for the log, the header fields that tell it, and metrics.

use portcullis_core::{Cors, LimitDecision, LogPolicy, Outage, Policy, Route};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Filled on the way; each part is settled by the step that knows it.
#[derive(Default)]
pub struct Trace {
    pub policy: Cell<Option<&'static Policy>>,
    pub route: Cell<Option<&'static Route>>,
    pub cors: Cell<Option<&'static Cors>>,
    /// By which word the token was judged.
    pub tier: Cell<Option<Tier>>,
    /// The key that the token was verified with.
    pub kid: RefCell<Option<Rc<str>>>,
    /// Time spent waiting for each.
    pub store_ms: Cell<u64>,
    pub provider_ms: Cell<u64>,
    pub upstream_ms: Cell<u64>,
    /// Why the store was not asked again in this request.
    pub store_out: Cell<Option<Outage>>,
    /// Whether the token's provider vouched for it in this request.
    pub introspected_now: Cell<bool>,
    /// Whether the token's record was there and did not open.
    pub unopened: Cell<bool>,
    /// What the limits said.
    pub limit_decisions: RefCell<Vec<LimitDecision<'static>>>,
    /// Whether bad tokens from the address would have been refused unseen, were that not just watched.
    pub shadowed_failures: Cell<bool>,
    /// How a refresh was answered.
    pub refresh: Cell<Option<&'static str>>,
    /// What was decided without the store.
    pub degraded: Cell<Option<&'static str>>,
    /// Who was left alone last, by what it failed with, and for how much longer it is.
    pub retry: Cell<Option<(Outage, u64)>>,
}

/// Where a verdict came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tier {
    /// The isolate knew.
    Isolate,
    /// The store said so.
    Store,
    /// The token's provider said so.
    Provider,
    /// Nobody was asked: the signature is good.
    Signature,
}

impl Tier {
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
    pub fn logs(&self, refused: bool) -> bool {
        refused || self.policy.get().is_none_or(|policy| policy.observability.log == LogPolicy::All)
    }

    /// The names of limits that say no, of those that are enforced or of those that are watched.
    pub fn violated(&self, shadow: bool) -> Vec<&'static str> {
        let limit_decisions = self.limit_decisions.borrow();
        let violated = limit_decisions
            .iter()
            .filter(|decision| !decision.admitted && decision.limit.shadow == shadow);
        violated.map(|decision| decision.limit.name.as_str()).collect()
    }
}
