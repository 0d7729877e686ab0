//! The limits on introspection: rejected tokens, and a rate of requests.

use portcullis_core::{Denial, GenerationalCache, TokenHash, UnixSeconds};
use std::cell::{Cell, RefCell};

/// What an isolate knows so as to send few introspection requests.
pub struct IntrospectionLimits {
    /// Tokens that their provider has rejected.
    rejected: RefCell<GenerationalCache<TokenHash, Rejection>>,
    sent: Cell<SentInSecond>,
}

/// How long a provider is not queried again about a token, and why.
#[derive(Clone, Copy)]
pub struct Rejection {
    pub until_ms: u64,
    pub denial: Denial,
    pause_ms: u64,
}

/// Why a provider is queried.
#[derive(Clone, Copy)]
pub enum Reason {
    /// The token is opaque and may be made up.
    Opaque,
    /// The token is genuine, and the store has no record of it.
    RecordMissing,
    /// The store fails.
    StoreOutage,
}

/// How many requests were sent within one second. Each reason has a count of its own, so that
/// made-up tokens can't use up the rate of genuine ones.
#[derive(Clone, Copy, Default)]
struct SentInSecond {
    second: UnixSeconds,
    opaque: u32,
    record_missing: u32,
    without_store: u32,
}

impl Default for IntrospectionLimits {
    fn default() -> Self {
        let rejected = GenerationalCache::new(REJECTED_PER_GENERATION, usize::MAX);
        Self { rejected: RefCell::new(rejected), sent: Cell::default() }
    }
}

impl IntrospectionLimits {
    /// Returns the last rejection of a token, which may be over.
    pub fn last_rejection(&self, hash: TokenHash) -> Option<Rejection> {
        self.rejected.borrow_mut().get(hash, |_| 0)
    }

    /// Records that a provider has rejected a token. The first pause is short, because a replica of
    /// the provider may not know a new token yet; each further one is twice as long.
    pub fn set_rejected(
        &self,
        hash: TokenHash,
        last: Option<Rejection>,
        denial: Denial,
        now_ms: u64,
    ) {
        let pause_ms = last.map_or(PAUSE_MS_MIN, |last| (last.pause_ms * 2).min(PAUSE_MS_MAX));
        let rejection = Rejection { until_ms: now_ms + pause_ms, pause_ms, denial };
        self.rejected.borrow_mut().insert(hash, rejection, 0);
    }

    /// Counts a request. Returns whether it is within the rate. A request of an earlier second
    /// counts with the current one, because requests end out of order.
    pub fn admits(&self, reason: Reason, per_second_max: u32, now: UnixSeconds) -> bool {
        let mut sent = self.sent.get();
        if now > sent.second {
            sent = SentInSecond { second: now, ..SentInSecond::default() };
        }
        let count = match reason {
            Reason::Opaque => &mut sent.opaque,
            Reason::RecordMissing => &mut sent.record_missing,
            Reason::StoreOutage => &mut sent.without_store,
        };
        *count = count.saturating_add(1);
        let admitted = *count <= per_second_max;
        self.sent.set(sent);
        admitted
    }
}

const REJECTED_PER_GENERATION: usize = 4096;
const PAUSE_MS_MIN: u64 = 1000;
const PAUSE_MS_MAX: u64 = 16_000;
