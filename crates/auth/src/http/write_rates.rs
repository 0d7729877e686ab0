//! The rates at which callers change things at the management endpoints.

use crate::problem::Problem;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counts each caller's changes: so many at once, and as many again in each minute, evenly. The
/// counts are this process's.
pub struct WriteRates {
    /// The changes of one minute; 0 for any number.
    per_minute: u32,
    begun: Instant,
    /// When the changes of each caller are paid off, in microseconds since `begun`.
    callers: Mutex<BTreeMap<String, u64>>,
}

impl WriteRates {
    /// Creates the rates of callers that have changed nothing. With 0, no change is refused.
    pub fn new(per_minute: u32) -> Self {
        Self { per_minute, begun: Instant::now(), callers: Mutex::default() }
    }

    /// Counts a change by a caller, which is the `sub` of its token.
    ///
    /// # Errors
    ///
    /// [`Problem::WritesThrottled`] if the caller has to wait. Such a change is not counted.
    pub fn count(&self, caller: &str) -> Result<(), Problem> {
        self.count_at(caller, self.begun.elapsed())
    }

    fn count_at(&self, caller: &str, elapsed: Duration) -> Result<(), Problem> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let now = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let each = MINUTE / u64::from(self.per_minute);
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        let paid_off = callers.get(caller).copied().unwrap_or_default().max(now) + each;
        let over = paid_off.saturating_sub(now + MINUTE);
        if over > 0 {
            return Err(Problem::WritesThrottled { seconds: over.div_ceil(1_000_000) });
        }
        if callers.len() >= CALLERS_MAX && !callers.contains_key(caller) {
            make_room(&mut callers, now);
        }
        callers.insert(caller.to_owned(), paid_off);
        Ok(())
    }
}

/// Removes the callers that have paid off, or else the caller that is closest to it.
fn make_room(callers: &mut BTreeMap<String, u64>, now: u64) {
    callers.retain(|_, paid_off| *paid_off > now);
    if callers.len() >= CALLERS_MAX {
        let closest = callers.iter().min_by_key(|(_, paid_off)| **paid_off);
        if let Some(closest) = closest.map(|(caller, _)| caller.clone()) {
            callers.remove(&closest);
        }
    }
}

/// A minute in microseconds.
const MINUTE: u64 = 60_000_000;
/// The most callers that are counted apart, some 100 bytes each.
const CALLERS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Returns how many changes of a caller pass at one moment, of 100.
    fn passing(rates: &WriteRates, caller: &str, at: Duration) -> usize {
        (0..100).filter(|_| rates.count_at(caller, at).is_ok()).count()
    }

    #[test]
    fn caller_makes_so_many_changes_at_once_and_as_many_a_minute() {
        let rates = WriteRates::new(30);
        assert_eq!(passing(&rates, "a", seconds(0)), 30);
        assert_eq!(passing(&rates, "b", seconds(0)), 30);
        let wait = rates.count_at("a", seconds(0));
        assert_eq!(wait, Err(Problem::WritesThrottled { seconds: 2 }));
        // As long as it says, and no longer.
        assert!(rates.count_at("a", Duration::from_millis(1999)).is_err());
        assert_eq!(rates.count_at("a", seconds(2)), Ok(()));
        assert_eq!(passing(&rates, "a", seconds(62)), 30);
        assert_eq!(passing(&rates, "a", seconds(1000)), 30);
        let total: usize = (0..600).map(|at| passing(&rates, "c", seconds(at))).sum();
        assert!((30 + 298..=30 + 300).contains(&total), "{total}");
    }

    #[test]
    fn zero_allows_any_number() {
        assert_eq!(passing(&WriteRates::new(0), "a", seconds(0)), 100);
    }

    #[test]
    fn number_of_callers_is_bounded() {
        let rates = WriteRates::new(2);
        let held = || rates.callers.lock().unwrap().len();
        assert_eq!(passing(&rates, "busy", seconds(0)), 2);
        for number in 0..CALLERS_MAX + 100 {
            assert_eq!(rates.count_at(&number.to_string(), seconds(0)), Ok(()));
            assert!(held() <= CALLERS_MAX);
        }
        // The caller that owes the most is kept the longest.
        assert!(rates.count_at("busy", seconds(0)).is_err());
        assert_eq!(rates.count_at("next", seconds(100)), Ok(()));
        assert_eq!(held(), 1);
    }
}
