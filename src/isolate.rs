//! The state of an isolate.

use crate::blocks::list::BlockList;
use crate::config::Config;
use crate::dependency::breakers::Breakers;
use crate::limits::counters::LimitCounters;
use crate::metrics::counters::Counters;
use crate::operator::state::OperatorState;
use crate::platform::crypto::CryptoKey;
use crate::platform::executor::Executor;
use crate::renewals::queue::Renewals;
use crate::token::cache::TokenCache;
use crate::token::introspection_limits::IntrospectionLimits;
use crate::token::key_sets::KeySets;
use crate::usage::state::UsageState;
use portcullis_core::RecentEvents;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// All state that outlives a request.
///
/// Each waiting task keeps its isolate alive until the task ends or is dropped.
pub struct Isolate {
    pub config: Config,
    pub executor: Rc<Executor>,
    pub breakers: Breakers,
    pub tokens: TokenCache,
    pub block_list: Rc<BlockList>,
    pub recent_events: RefCell<RecentEvents>,
    pub key_sets: KeySets,
    pub introspection_limits: IntrospectionLimits,
    /// The same for API keys, so that made-up ones use up no rate of other tokens.
    pub key_limits: IntrospectionLimits,
    pub limits: LimitCounters,
    pub renewals: Renewals,
    pub counters: Rc<Counters>,
    pub usage: Rc<UsageState>,
    pub operator: OperatorState,
    /// Whether the store refuses scripts with key locking.
    pub has_plain_scripts: Cell<bool>,
    /// The key that signs assertions, once a signature of it was verified.
    pub assertion_key: RefCell<Option<CryptoKey>>,
}

impl Isolate {
    /// Creates an isolate that has seen no request.
    pub fn new(config: Config, executor: Rc<Executor>) -> Self {
        Self {
            config,
            executor,
            breakers: Breakers::default(),
            tokens: TokenCache::default(),
            block_list: Rc::default(),
            recent_events: RefCell::default(),
            key_sets: KeySets::default(),
            introspection_limits: IntrospectionLimits::default(),
            key_limits: IntrospectionLimits::default(),
            limits: LimitCounters::default(),
            renewals: Renewals::default(),
            counters: Rc::default(),
            usage: Rc::default(),
            operator: OperatorState::default(),
            has_plain_scripts: Cell::default(),
            assertion_key: RefCell::default(),
        }
    }

    /// Records the time. If the clock went back, forgets what would seem younger than it is or last
    /// for longer than it should. Returns how often that has happened.
    pub fn observe_clock(&self, now_ms: u64) -> u32 {
        if self.tokens.observe(now_ms) {
            self.breakers.reset();
            self.limits.forget_over();
        }
        self.tokens.clock_steps()
    }

    /// Creates the isolate that goes on with another configuration, after a secret has changed.
    /// What was counted is exported with what follows, and blocked networks stay blocked.
    pub fn followed_by(&self, config: Config) -> Self {
        Self {
            block_list: Rc::clone(&self.block_list),
            counters: Rc::clone(&self.counters),
            usage: Rc::clone(&self.usage),
            ..Self::new(config, Rc::clone(&self.executor))
        }
    }
}
