//! The last ten minutes, in steps of ten seconds.

use super::counters::{READINGS, spread};
use crate::db::{Counters, add_counters};
use std::collections::VecDeque;

/// What was counted in the last steps.
#[derive(Default)]
pub struct Live {
    /// The start of each step in Unix seconds, in ascending order, and its counts.
    steps: VecDeque<(u64, Counters)>,
}

/// The length of a step.
pub const STEP_SECONDS: u64 = 10;

impl Live {
    /// Adds what the edges counted in the steps from `since` until before `now`. If these are
    /// several, because the store did not answer meanwhile, the counts are spread over them.
    pub fn add(&mut self, since: u64, now: u64, counters: &Counters) {
        let end = step_of(now);
        let first = step_of(since).min(end.saturating_sub(STEP_SECONDS));
        let steps = ((end - first) / STEP_SECONDS).clamp(1, STEPS_MAX);
        let first = end.saturating_sub(steps * STEP_SECONDS);
        for (place, mut counts) in (0..).zip(spread(counters, steps)) {
            counts.insert(READINGS.to_owned(), 1);
            self.add_step(first + place * STEP_SECONDS, &counts);
        }
    }

    /// Adds what this process counted in the last step.
    pub fn add_own(&mut self, now: u64, counters: &Counters) {
        self.add_step(step_of(now).saturating_sub(STEP_SECONDS), counters);
    }

    fn add_step(&mut self, start: u64, counters: &Counters) {
        match self.steps.iter_mut().rev().find(|(own, _)| *own == start) {
            Some((_, sum)) => add_counters(sum, counters),
            None => {
                // A clock that went back begins again.
                self.steps.retain(|(own, _)| *own < start);
                self.steps.push_back((start, counters.clone()));
            }
        }
        while self.steps.len() > MAX {
            self.steps.pop_front();
        }
    }

    /// Returns the steps.
    pub fn steps(&self) -> Vec<(u64, Counters)> {
        self.steps.iter().cloned().collect()
    }

    /// Returns the last step.
    pub fn last(&self) -> Option<(u64, Counters)> {
        self.steps.back().cloned()
    }
}

/// Returns the start of the step that contains a moment.
fn step_of(at: u64) -> u64 {
    at - at % STEP_SECONDS
}

/// How many steps are kept.
const STEPS_MAX: u64 = 60;
const MAX: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    fn one(count: u64) -> Counters {
        [("a{}".to_owned(), count)].into()
    }

    fn counts(live: &Live) -> Vec<(u64, u64)> {
        let count = |counters: &Counters| counters.get("a{}").copied().unwrap_or(0);
        live.steps().iter().map(|(start, counters)| (*start, count(counters))).collect()
    }

    #[test]
    fn counts_are_in_the_step_before_the_reading() {
        let mut live = Live::default();
        live.add(1000, 1010, &one(3));
        live.add(1010, 1021, &one(4));
        live.add(1021, 1022, &one(5));
        assert_eq!(counts(&live), [(1000, 3), (1010, 9)]);
        live.add(1022, 1030, &Counters::new());
        live.add_own(1030, &[("own{}".to_owned(), 1)].into());
        assert_eq!(counts(&live), [(1000, 3), (1010, 9), (1020, 0)]);
        let last = [("own{}".to_owned(), 1), (READINGS.to_owned(), 1)].into();
        assert_eq!(live.last(), Some((1020, last)));
    }

    #[test]
    fn counts_of_an_outage_are_spread() {
        let mut live = Live::default();
        live.add(1000, 1031, &one(7));
        assert_eq!(counts(&live), [(1000, 2), (1010, 2), (1020, 3)]);
    }

    #[test]
    fn sixty_steps_are_kept() {
        let mut live = Live::default();
        live.add(1000, 100_000, &one(60));
        assert_eq!(counts(&live).len(), 60);
        assert_eq!(counts(&live)[0], (99_400, 1));
        live.add(100_000, 100_010, &one(5));
        assert_eq!((counts(&live).len(), counts(&live)[59]), (60, (100_000, 5)));
        live.add(100_010, 90_000, &one(1));
        assert_eq!(counts(&live), [(89_990, 1)]);
    }
}
