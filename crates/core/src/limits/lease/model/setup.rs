//! What a model is of, and what may happen in it.

use super::store::Rules;
use super::{LeaseTerms, Leases};

/// What is the same in all states of a model.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The limit, with its whole burst.
    pub rules: Rules,
    pub terms: LeaseTerms,
    /// What the first request of each isolate costs, and how long it is until the next isolate's.
    pub first_cost: u32,
    pub first_ms: u64,
    /// What each further request costs.
    pub cost: u32,
    pub isolates: usize,
    /// The margin for an isolate's clock.
    pub margin_ms: u64,
    /// By how much time may pass at once.
    pub ticks_ms: Vec<u64>,
    /// By how much an isolate's clock may be behind.
    pub lags_ms: Vec<u64>,
    /// By how much a clock may step back, and whether the isolate is busy meanwhile.
    pub step_ms: u64,
    pub is_step_seen: bool,
    pub records_calls: bool,
    /// The quotas that the store may have for the key instead of the limit's.
    pub overrides: Vec<u64>,
    pub mutation: Option<Mutation>,
    /// What else is wrong: changes an isolate's leases after each action.
    pub spoil: Option<fn(&mut Leases)>,
}

impl Setup {
    /// Returns the rules of the limit with another quota.
    pub fn with_quota(&self, quota: u64) -> Rules {
        scaled(self.rules, quota)
    }

    /// Returns the smallest and the largest quota that may apply.
    pub fn quotas(&self) -> (u64, u64) {
        let all = || self.overrides.iter().copied().chain([self.rules.quota]);
        (all().min().unwrap_or_default(), all().max().unwrap_or_default())
    }

    /// Returns the rules that the store counts by: with a burst that is smaller by the reserve.
    pub fn charged(&self, quota: u64) -> Rules {
        let reserve = match self.mutation {
            Some(Mutation::NoReserve) => 0,
            _ => u64::from(self.terms.reserve),
        };
        scaled(Rules { burst: self.rules.burst - reserve, ..self.rules }, quota)
    }
}

/// Returns the rules with another quota, as the script has them: the burst scales.
fn scaled(rules: Rules, quota: u64) -> Rules {
    Rules { quota, burst: (rules.burst * quota / rules.quota).max(1), ..rules }
}

/// A defect of the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mutation {
    /// The store counts a unit when it is used.
    CountedWhenUsed,
    /// A lease's life counts from the time of the answer.
    LifeFromAnswer,
    /// The store counts a question and its retry once, and both answers are used.
    RetryCountedOnce,
    /// The store counts against the whole burst.
    NoReserve,
    /// A lease lasts longer by the margin.
    NoMargin,
    /// The end of a window does not end a lease.
    OutlivesWindow,
    /// An answer that arrives twice is used twice.
    AnswerUsedTwice,
}

/// How often each kind of action may still happen.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Budget {
    pub requests: u16,
    pub drains: u16,
    pub ticks: u16,
    pub lost: u16,
    pub failures: u16,
    pub crashes: u16,
    pub steps: u16,
    pub flushes: u16,
    pub sweeps: u16,
    pub overrides: u16,
}

impl Budget {
    /// Returns a budget that no random sequence uses up, and in which the store loses nothing.
    pub fn ample() -> Self {
        let most = u16::MAX / 2;
        Self {
            requests: most,
            drains: most,
            ticks: most,
            sweeps: most,
            lost: most,
            failures: most,
            crashes: most,
            steps: most,
            flushes: 0,
            overrides: most,
        }
    }
}

/// What may happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// A request arrives.
    Request { isolate: usize, lag_ms: u64 },
    /// Requests of several costs arrive until a lease is used up.
    Drain { isolate: usize, lag_ms: u64 },
    /// Other isolates, which hold no lease, send requests until the store refuses one.
    Sweep,
    /// The store executes a question. Its answer may be lost on the way; the question is retried
    /// then.
    Execute { place: usize, is_lost: bool },
    /// An answer arrives.
    Deliver { place: usize, lag_ms: u64 },
    /// An isolate stops waiting for an answer.
    Fail { place: usize },
    /// Time passes.
    Tick { ms: u64 },
    /// An isolate ends, and a new one takes its place.
    Crash { isolate: usize },
    /// An isolate's clock goes back.
    StepBack { isolate: usize },
    /// The store loses all data.
    Flush,
    /// The store has another quota for the key from now on.
    Override { quota: u64 },
}
