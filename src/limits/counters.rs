//! The counters of an isolate: rate-limit keys over their quota, local counts for limits that the
//! store can't count, and invalid tokens.

use portcullis_core::{BucketKey, GenerationalCache, Leases, LocalCount, LocalCounts, LocalRate};
use std::cell::RefCell;

/// The rate-limit counters of an isolate.
pub struct LimitCounters {
    /// For each rate-limit key over its quota: when it may retry (Unix ms).
    over: RefCell<GenerationalCache<BucketKey, u64>>,
    /// Local counts by the limit's name. Each limit has its own, so that a flood against one limit
    /// evicts nothing from another.
    local: RefCell<Vec<(&'static str, LocalCounts)>>,
    failures: RefCell<LocalCounts>,
    pub leases: RefCell<Leases>,
}

impl Default for LimitCounters {
    fn default() -> Self {
        Self {
            over: RefCell::new(GenerationalCache::new(KEYS_PER_GENERATION, usize::MAX)),
            local: RefCell::default(),
            failures: RefCell::new(LocalCounts::new(KEYS_PER_GENERATION)),
            leases: RefCell::new(Leases::new(KEYS_PER_GENERATION)),
        }
    }
}

impl LimitCounters {
    /// Returns how many ms a key stays over its quota; `None` if it is not known to be over it.
    pub fn over_for_ms(&self, bucket_key: BucketKey, now_ms: u64) -> Option<u64> {
        let until_ms = self.over.borrow_mut().get(bucket_key, |_| 0)?;
        until_ms.checked_sub(now_ms).filter(|left_ms| *left_ms > 0)
    }

    /// Records that a key is over its quota until `until_ms` (Unix ms).
    pub fn set_over(&self, bucket_key: BucketKey, until_ms: u64) {
        self.over.borrow_mut().insert(bucket_key, until_ms, 0);
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
