//! Counts requests in one isolate, without the store.

use crate::cache::GenerationalCache;

/// The rate that an isolate admits for one key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LocalRate {
    /// Requests per window.
    pub quota: u32,
    /// The window, in seconds.
    pub window_seconds: u32,
}

/// The result of counting a request in an isolate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LocalCount {
    /// The request is within the limit.
    Admitted {
        /// The remaining quota, if it is known.
        left: Option<u64>,
    },
    /// The request is over the limit.
    Refused {
        /// The time until it would be admitted, in milliseconds.
        wait_ms: u64,
    },
}

impl LocalCount {
    /// Returns the time until a refused request would be admitted, or `None` if it is admitted.
    pub(crate) fn wait_ms(self) -> Option<u64> {
        match self {
            Self::Admitted { .. } => None,
            Self::Refused { wait_ms } => Some(wait_ms),
        }
    }
}

/// The counts of one isolate, in a bounded cache. The algorithm is GCRA, in thousandths of a
/// millisecond.
pub struct LocalCounts {
    arrivals: GenerationalCache<[u8; 32], u64>,
}

impl LocalCounts {
    /// Creates counts for `keys_max` keys per generation, so for twice as many at most. A key that
    /// is forgotten has its whole quota again.
    pub fn new(keys_max: usize) -> Self {
        Self { arrivals: GenerationalCache::new(keys_max, usize::MAX) }
    }

    /// Counts a request that costs `cost`, at `now_ms` in Unix milliseconds. `key` is the hash of
    /// [`crate::LimitCheck::key`].
    pub fn count(&mut self, key: [u8; 32], rate: LocalRate, cost: u32, now_ms: u64) -> LocalCount {
        let (quota, cost) = (u64::from(rate.quota.max(1)), u64::from(cost));
        let window = u64::from(rate.window_seconds) * 1000 * SUBDIVISION;
        let now = now_ms * SUBDIVISION;
        let interval = (window / quota).max(1);
        let arrival = self.arrivals.get(key, |_| 0).unwrap_or(0);
        let arrival = arrival.clamp(now, now + window);
        let after = arrival + interval * cost;
        let early = after.saturating_sub(now + interval * quota);
        if early > 0 {
            return LocalCount::Refused { wait_ms: early.div_ceil(SUBDIVISION) };
        }
        self.arrivals.insert(key, after, 0);
        LocalCount::Admitted { left: Some((now + interval * quota - after) / interval) }
    }

    /// Returns the milliseconds until a request that costs 1 would be admitted, without counting
    /// it; 0 for now.
    pub fn wait_ms(&mut self, key: [u8; 32], rate: LocalRate, now_ms: u64) -> u64 {
        let window = u64::from(rate.window_seconds) * 1000 * SUBDIVISION;
        let (now, interval) =
            (now_ms * SUBDIVISION, (window / u64::from(rate.quota.max(1))).max(1));
        let arrival = self.arrivals.get(key, |_| 0).unwrap_or(0).min(now + window);
        let early = (arrival + interval).saturating_sub(now + interval * u64::from(rate.quota));
        early.div_ceil(SUBDIVISION)
    }
}

/// The parts of a millisecond. They keep intervals below a millisecond exact.
const SUBDIVISION: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// An isolate admits at most the quota at once, and the quota plus its share of the elapsed
    /// time.
    #[test]
    fn local_counts_never_exceed_their_rate() {
        let mut seed: u64 = 7;
        let mut random = |bound: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % bound
        };
        for _ in 0..200 {
            let (quota, window) = (1 + random(50), 1 + random(60));
            let rate = LocalRate {
                quota: u32::try_from(quota).unwrap(),
                window_seconds: u32::try_from(window).unwrap(),
            };
            let (mut counts, mut now_ms, mut admitted) = (LocalCounts::new(10), 1_000_000, 0);
            let begun = now_ms;
            for _ in 0..500 {
                now_ms += random(window * 2000 / quota + 1);
                let key = [1; 32];
                let wait = counts.wait_ms(key, rate, now_ms);
                match counts.count(key, rate, 1, now_ms) {
                    LocalCount::Admitted { left } => {
                        assert!(left.is_some());
                        assert_eq!(wait, 0);
                        admitted += 1;
                    }
                    LocalCount::Refused { wait_ms } => {
                        assert_eq!(wait, wait_ms);
                        let early = counts.count(key, rate, 1, now_ms + wait_ms - 1);
                        assert!(early.wait_ms().is_some());
                        assert!(wait_ms <= window * 1000);
                    }
                }
                let share = (now_ms - begun) * quota / (window * 1000);
                assert!(admitted <= quota + share + 1, "{admitted} of {quota} in {window} s");
            }
            assert!(admitted >= quota.min(400), "{admitted} of {quota}");
        }
    }
}
