//! What limits by the calendar and credits have used, as the store last said.

use super::check::LimitCheck;
use redis_rest::Reply;

/// What was used of one quota in one period, or of one balance of credits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PeriodUse {
    /// The limit's name.
    pub limit: String,
    /// The kind of the state: `day`, `month` or `credits`.
    pub state: &'static str,
    /// The hash of what the limit counts.
    pub hash: [u8; 32],
    /// When the period began, in Unix milliseconds; 0 for the credits.
    pub begun_ms: u64,
    /// When the store made the state, in Unix milliseconds.
    pub origin_ms: u64,
    /// What it has used since.
    pub used: u64,
}

impl PeriodUse {
    fn place(&self) -> ([u8; 32], u64, u64) {
        (self.hash, self.begun_ms, self.origin_ms)
    }
}

/// The latest use of each quota, bounded in number.
#[derive(Debug, Default)]
pub struct PeriodUses {
    /// In the order of their places.
    uses: Vec<PeriodUse>,
    /// Uses that are taken, and were too many for one batch.
    rest: Vec<PeriodUse>,
}

impl PeriodUses {
    /// Records what the store said with its reply to a limit's check. Does nothing for a limit of
    /// another algorithm. If too many quotas are known, a new one waits for its next request after
    /// [`PeriodUses::take`].
    pub fn record(&mut self, limit_check: &LimitCheck<'_>, reply: &Reply) {
        for new in limit_check.uses(reply).into_iter().flatten().filter(|new| new.used > 0) {
            let place = self.uses.binary_search_by(|own| own.place().cmp(&new.place()));
            match place {
                Err(place) if self.uses.len() < 2 * HELD_USES => self.uses.insert(place, new),
                Err(_) => {}
                Ok(place) => {
                    if let Some(own) = self.uses.get_mut(place) {
                        // Replies do not arrive in their order.
                        own.used = own.used.max(new.used);
                    }
                }
            }
        }
    }

    /// Returns whether a batch should be sent before its time.
    pub fn is_full(&self) -> bool {
        self.uses.len() >= HELD_USES || !self.rest.is_empty()
    }

    /// Takes the uses of a batch: those since the last one, or the next part of them.
    pub fn take(&mut self) -> Vec<PeriodUse> {
        if self.rest.is_empty() {
            self.rest = std::mem::take(&mut self.uses);
        }
        self.rest.split_off(self.rest.len().saturating_sub(USES_MAX))
    }
}

impl LimitCheck<'_> {
    /// Reads the use of the quota, and of the credits, from the script's reply. Returns `None` for
    /// a limit of another algorithm, or if the reply is malformed.
    fn uses(&self, reply: &Reply) -> Option<[PeriodUse; 2]> {
        let (Reply::Array(fields), true) = (reply, self.limit.algorithm.is_calendar()) else {
            return None;
        };
        let number = |place: usize| match fields.get(place)? {
            Reply::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        let (begun_ms, origin_ms) = (number(7)?, number(8)?);
        let of = |begun_ms, used| PeriodUse {
            limit: self.limit.name.clone(),
            state: self.limit.state_name(),
            hash: self.key,
            begun_ms,
            origin_ms,
            used,
        };
        Some([of(begun_ms, number(9)?), of(0, number(10)?)])
    }
}

/// The most uses of a batch.
const USES_MAX: usize = 512;
/// How many uses an isolate keeps before a batch is sent early. It keeps up to twice as many, of
/// about 150 bytes each.
const HELD_USES: usize = 4 * USES_MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::fixtures::{check_of, limit};
    use crate::policy::limit::{Algorithm, Limit, Period};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn latest_use_of_each_quota_is_kept() {
        let reply = |fields: [i64; 11]| Reply::Array(fields.map(Reply::Integer).to_vec());
        let period =
            Limit { algorithm: Algorithm::Credits, period: Some(Period::Month), ..limit() };
        let (mut uses, check) = (PeriodUses::default(), check_of(&period));
        uses.record(&check, &reply([1, 4, 0, 9, 0, 9, 0, 1000, 1500, 6, 0]));
        uses.record(&check, &reply([1, 5, 0, 9, 0, 9, 0, 1000, 1500, 5, 0]));
        uses.record(&check, &reply([1, 1, 0, 9, 0, 9, 0, 1000, 1500, 6, 3]));
        uses.record(&check, &reply([1, 9, 0, 9, 0, 9, 0, 2000, 1500, 1, 3]));
        uses.record(&check, &Reply::Array(vec![Reply::Integer(1)]));
        uses.record(&check_of(&limit()), &reply([1, 4, 0, 9, 0, 9, 0, 1, 1, 6, 0]));
        let taken = uses.take();
        let seen: Vec<_> =
            taken.iter().map(|own| (own.begun_ms, own.origin_ms, own.used)).collect();
        assert_eq!(seen, [(0, 1500, 3), (1000, 1500, 6), (2000, 1500, 1)]);
        assert!(taken.iter().all(|own| own.state == "credits" && own.limit == "l"));
        assert!(uses.take().is_empty());
        assert!(!uses.is_full());
        for key in 0..2 * HELD_USES + 1 {
            let mut check = check_of(&period);
            check.key[..8].copy_from_slice(&u64::try_from(key).unwrap().to_le_bytes());
            uses.record(&check, &reply([1, 4, 0, 9, 0, 9, 0, 1000, 1500, 6, 0]));
        }
        for _ in 0..2 * HELD_USES / USES_MAX {
            assert!(uses.is_full());
            assert_eq!(uses.take().len(), USES_MAX);
        }
        assert!(!uses.is_full());
        assert!(uses.take().is_empty());
    }
}
