//! Which keys owe something to a limit with a burst, as far as an isolate knows. Of the others, the
//! store has no state: the script need not ask for one, which saves a command.

use super::check::LimitCheck;
use crate::cache::{CacheKey, GenerationalCache};
use redis_rest::Reply;

/// Until when keys owe something, in a bounded cache. A wrong guess costs the store a command more,
/// and changes no decision.
#[derive(Clone)]
pub struct OwedUntil(GenerationalCache<CacheKey, u64>);

impl OwedUntil {
    /// Creates a cache for `keys_max` keys per generation, so for twice as many at most.
    pub fn new(keys_max: usize) -> Self {
        Self(GenerationalCache::new(keys_max, usize::MAX))
    }

    /// Returns whether a key is likely to owe nothing. `key` is [`LimitCheck::key`], and `now_ms`
    /// is in Unix milliseconds.
    pub fn owes_nothing(&mut self, key: CacheKey, now_ms: u64) -> bool {
        self.0.get(key, |_| 0).is_none_or(|until_ms| until_ms <= now_ms)
    }

    /// Records what a key owes after the store's reply to a check.
    pub fn record(&mut self, limit_check: &LimitCheck<'_>, reply: &Reply, now_ms: u64) {
        // Most keys owe something for a shorter time than until their next request.
        let owed_ms = limit_check.owed_ms(reply).filter(|owed_ms| *owed_ms >= OWED_MS_MIN);
        if let Some(owed_ms) = owed_ms {
            self.0.insert(limit_check.key, now_ms + owed_ms, 0);
        }
    }
}

const OWED_MS_MIN: u64 = 20;

#[cfg(test)]
mod tests {
    use super::super::fixtures::{check_of, limit};
    use super::*;
    use crate::policy::limit::{Algorithm, Limit};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn key_owes_something_until_its_burst_is_full_again() {
        // 10 in 60 s: each takes 6 s to come back.
        let limit = limit();
        let check = check_of(&limit);
        let reply =
            |left| Reply::Array([1, left, 0, 0, 0, 0, 0].into_iter().map(Reply::Integer).collect());
        let mut owed = OwedUntil::new(8);
        assert!(owed.owes_nothing(check.key, 1000));
        owed.record(&check, &reply(7), 1000);
        assert!(!owed.owes_nothing(check.key, 18_999));
        assert!(owed.owes_nothing(check.key, 19_000));
        owed.record(&check, &Reply::Null, 19_000);
        owed.record(&check, &reply(10), 19_000);
        assert!(owed.owes_nothing(check.key, 19_000));
    }

    #[test]
    fn only_a_limit_whose_script_reads_the_state_alone_is_guessed() {
        let last = |limit: &Limit, owes_nothing| {
            let command =
                super::super::check::LimitCheck { owes_nothing, ..check_of(limit) }.command();
            let words = command.words().len();
            (words, command.text(words - 1).unwrap().to_owned())
        };
        let bucket = limit();
        assert_eq!(last(&bucket, false), (10, "3".to_owned()));
        assert_eq!(last(&bucket, true), (12, "1".to_owned()));
        let mut others = vec![Limit { overrides: true, ..limit() }];
        for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow, Algorithm::Credits] {
            others.push(Limit { algorithm, ..limit() });
        }
        for other in others {
            assert_eq!(last(&other, true), last(&other, false), "{other:?}");
        }
    }
}
