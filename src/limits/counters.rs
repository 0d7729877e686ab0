//! The counters of an isolate: rate-limit keys over their quota, local counts for limits that the
//! store can't count, and invalid tokens.

use portcullis_core::{
    BucketKey, GenerationalCache, Leases, LocalCount, LocalCounts, LocalRate, OwedUntil, PeriodUses,
};
use std::cell::RefCell;

/// The rate-limit counters of an isolate.
pub struct LimitCounters {
    over: RefCell<GenerationalCache<BucketKey, Over>>,
    /// Local counts by the limit's name. Each limit has its own, so that a flood against one limit
    /// evicts nothing from another.
    local: RefCell<Vec<(&'static str, LocalCounts)>>,
    failures: RefCell<LocalCounts>,
    pub leases: RefCell<Leases>,
    pub owed: RefCell<OwedUntil>,
    /// What limits by the calendar and credits have used.
    pub periods: RefCell<PeriodUses>,
}

/// The state of a rate-limit key over its quota. Times are in Unix ms.
#[derive(Clone, Copy)]
pub struct Over {
    /// Until when the store need not be asked.
    pub ask_ms: u64,
    /// When it may retry; 0 if no time brings more.
    pub retry_ms: u64,
    /// The quota that applied.
    pub quota: u32,
}

impl Default for LimitCounters {
    fn default() -> Self {
        Self {
            over: RefCell::new(GenerationalCache::new(KEYS_PER_GENERATION, usize::MAX)),
            local: RefCell::default(),
            failures: RefCell::new(LocalCounts::new(KEYS_PER_GENERATION)),
            leases: RefCell::new(Leases::new(KEYS_PER_GENERATION)),
            owed: RefCell::new(OwedUntil::new(KEYS_PER_GENERATION)),
            periods: RefCell::default(),
        }
    }
}

impl LimitCounters {
    /// Returns how many ms a key stays over its quota, and that quota; `None` if it is not known to
    /// be over it.
    pub fn over(&self, bucket_key: BucketKey, now_ms: u64) -> Option<(u64, u32)> {
        let over = self.over.borrow_mut().get(bucket_key, |_| 0)?;
        (over.ask_ms > now_ms).then(|| (over.retry_ms.saturating_sub(now_ms), over.quota))
    }

    /// Records that a key is over its quota.
    pub fn set_over(&self, bucket_key: BucketKey, over: Over) {
        self.over.borrow_mut().insert(bucket_key, over, 0);
    }

    /// Forgets which keys are over their quotas, so that the store is asked again.
    pub fn forget_over(&self) {
        self.over.replace(GenerationalCache::new(KEYS_PER_GENERATION, usize::MAX));
    }

    /// Counts a request towards a limit.
    pub fn count(
        &self,
        limit: &'static str,
        key: [u8; 32],
        rate: LocalRate,
        cost: u32,
        now_ms: u64,
    ) -> LocalCount {
        let mut local = self.local.borrow_mut();
        if let Some((_, counts)) = local.iter_mut().find(|(own, _)| *own == limit) {
            return counts.count(key, rate, cost, now_ms);
        }
        let mut counts = LocalCounts::new(KEYS_PER_GENERATION);
        let count = counts.count(key, rate, cost, now_ms);
        local.push((limit, counts));
        count
    }

    /// Counts an invalid token.
    pub fn count_failure(&self, key: [u8; 32], rate: LocalRate, now_ms: u64) {
        self.failures.borrow_mut().count(key, rate, 1, now_ms);
    }

    /// Returns how many ms a client must wait because of its invalid tokens; 0 if it need not wait.
    pub fn failure_wait_ms(&self, key: [u8; 32], rate: LocalRate, now_ms: u64) -> u64 {
        self.failures.borrow_mut().wait_ms(key, rate, now_ms)
    }
}

const KEYS_PER_GENERATION: usize = 8192;
