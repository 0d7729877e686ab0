//! Differences of counters.

use crate::db::Counters;

/// Returns what was counted between two readings.
///
/// A counter that went back was lost by the store, and counts from 0. If it went back by a small
/// part of a large number, the store lost its most recent writes alone, and nothing counts.
/// Counting from 0 would then count almost everything a second time.
///
/// Counters that did not change are left out.
pub fn difference(before: &Counters, after: &Counters) -> Counters {
    let counts = after.iter().map(|(name, now)| {
        let then = before.get(name).copied().unwrap_or(0);
        let count = match now.checked_sub(then) {
            Some(count) => count,
            None if then - now <= then / LOST_PART => 0,
            None => *now,
        };
        (name.clone(), count)
    });
    counts.filter(|(_, count)| *count > 0).collect()
}

/// Divides counts evenly among `parts`, without loss.
pub fn spread(counters: &Counters, parts: u64) -> Vec<Counters> {
    let parts = parts.max(1);
    let until = |count: u64, part: u64| {
        let whole = u128::from(count) * u128::from(part) / u128::from(parts);
        u64::try_from(whole).unwrap_or(u64::MAX)
    };
    let part_of = |part: u64| {
        let counts = counters
            .iter()
            .map(|(name, count)| (name.clone(), until(*count, part + 1) - until(*count, part)));
        counts.filter(|(_, count)| *count > 0).collect()
    };
    match parts {
        1 => vec![counters.clone()],
        parts => (0..parts).map(part_of).collect(),
    }
}

/// The counter of readings of the edges: a step without one is a gap.
pub const READINGS: &str = "auth_readings_total{}";

/// A counter that lost at most a tenth of its value lost recent writes.
const LOST_PART: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(pairs: &[(&str, u64)]) -> Counters {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn difference_is_what_was_counted_since() {
        let before = counters(&[("a{}", 5), ("same{}", 7), ("gone{}", 9)]);
        let after = counters(&[("a{}", 12), ("same{}", 7), ("new{}", 3), ("zero{}", 0)]);
        assert_eq!(difference(&before, &after), counters(&[("a{}", 7), ("new{}", 3)]));
        assert_eq!(difference(&after, &after), Counters::new());
    }

    #[test]
    fn counter_that_went_back_counts_from_zero() {
        let before = counters(&[("a{}", 5), ("b{}", 1000)]);
        let after = counters(&[("a{}", 2), ("b{}", 40)]);
        assert_eq!(difference(&before, &after), after);
    }

    /// A Redis that failed over to a replica may have lost the last second.
    #[test]
    fn counter_that_lost_its_last_writes_counts_nothing() {
        let before = counters(&[("a{}", 1_000_000), ("b{}", 1_000_000)]);
        let after = counters(&[("a{}", 999_000), ("b{}", 899_999)]);
        assert_eq!(difference(&before, &after), counters(&[("b{}", 899_999)]));
    }

    #[test]
    fn spread_counts_add_up() {
        let whole = counters(&[("a{}", 7), ("b{}", 1), ("c{}", u64::MAX)]);
        for parts in [1, 2, 3, 60] {
            let spread = spread(&whole, parts);
            assert_eq!(spread.len() as u64, parts);
            let mut sum = Counters::new();
            spread.iter().for_each(|part| crate::db::add_counters(&mut sum, part));
            assert_eq!(sum, whole);
            let a: Vec<u64> =
                spread.iter().map(|part| part.get("a{}").copied().unwrap_or(0)).collect();
            assert!(a.iter().max().unwrap() - a.iter().min().unwrap() <= 1);
        }
    }
}
