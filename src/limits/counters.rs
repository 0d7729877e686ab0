//! What an isolate counts itself: the rate-limit keys over their quota, local counts for limits
//! that the store can't count, and invalid tokens.

use portcullis_core::{BucketKey, GenerationalCache, LocalCounts};
use std::cell::RefCell;
use std::collections::HashMap;

/// The counts of an isolate.
pub struct LimitCounters {
    /// For each rate-limit key over its quota: when it may retry (Unix ms).
    over: RefCell<GenerationalCache<BucketKey, u64>>,
    /// Local counts, apart for each limit, so that a flood of one evicts nothing from another.
    local: RefCell<HashMap<&'static str, LocalCounts>>,
    failures: RefCell<LocalCounts>,
}

/// A quota within a window of time.
#[derive(Clone, Copy)]
pub struct Quota {
    pub count: u32,
    pub window_seconds: u32,
}

impl Default for LimitCounters {
    fn default() -> Self {
        Self {
            over: RefCell::new(GenerationalCache::new(KEYS_PER_GENERATION, usize::MAX)),
            local: RefCell::default(),
            failures: RefCell::new(LocalCounts::new(KEYS_PER_GENERATION)),
        }
    }
}

impl LimitCounters {
    /// Returns for how long a key is over its quota; `None` if it is not known to be.
    pub fn over_for_ms(&self, bucket_key: BucketKey, now_ms: u64) -> Option<u64> {
        let until_ms = self.over.borrow_mut().get(bucket_key, |_| 0)?;
        until_ms.checked_sub(now_ms).filter(|left_ms| *left_ms > 0)
    }

    /// Records that a key is over its quota.
    pub fn set_over(&self, bucket_key: BucketKey, until_ms: u64) {
        self.over.borrow_mut().insert(bucket_key, until_ms, 0);
    }

    /// Counts a request of a limit. Returns how many more are admitted, or else after how many
    /// milliseconds one would be.
    pub fn count(
        &self,
        limit: &'static str,
        key: [u8; 32],
        quota: Quota,
        cost: u32,
        now_ms: u64,
    ) -> Result<u64, u64> {
        let mut local = self.local.borrow_mut();
        let counts = local.entry(limit).or_insert_with(|| LocalCounts::new(KEYS_PER_GENERATION));
        counts.count(key, (quota.count, quota.window_seconds, cost), now_ms)
    }

    /// Counts an invalid token.
    pub fn count_failure(&self, key: [u8; 32], quota: Quota, now_ms: u64) {
        let measure = (quota.count, quota.window_seconds, 1);
        let _ = self.failures.borrow_mut().count(key, measure, now_ms);
    }

    /// Returns for how long a client has sent too many invalid tokens; 0 if it has not.
    pub fn failure_wait_ms(&self, key: [u8; 32], quota: Quota, now_ms: u64) -> u64 {
        self.failures.borrow_mut().wait_ms(key, quota.count, quota.window_seconds, now_ms)
    }
}

const KEYS_PER_GENERATION: usize = 8192;
