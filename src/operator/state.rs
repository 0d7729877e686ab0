//! What the isolate last knew of its dependencies, and the counters that it showed last.

use crate::dependency::breakers::Dependency;
use std::cell::{Cell, RefCell};

/// What the endpoints for operators tell.
#[derive(Default)]
pub struct OperatorState {
    store: Known,
    auth: Known,
    pub metrics: ShownMetrics,
}

/// What the isolate last knew of a dependency. Times are in Unix ms.
#[derive(Default)]
pub struct Known {
    is_up: Cell<Option<bool>>,
    at_ms: Cell<u64>,
    probed_ms: Cell<u64>,
}

/// The counters of all edges as text, as they were read last.
#[derive(Default)]
pub struct ShownMetrics {
    /// When they were asked for, in Unix ms.
    asked_ms: Cell<u64>,
    /// `None` until the first read has ended. It is empty if there are no counters.
    pub text: RefCell<Option<String>>,
}

impl OperatorState {
    /// Records whether a dependency worked. Only the store and the auth service are of interest.
    pub fn record(&self, dependency: Dependency, is_up: bool, now_ms: u64) {
        if let Some(known) = self.of(dependency) {
            known.is_up.set(Some(is_up));
            known.at_ms.set(now_ms);
        }
    }

    /// Returns the last state of a dependency.
    pub fn of(&self, dependency: Dependency) -> Option<&Known> {
        match dependency {
            Dependency::Store => Some(&self.store),
            Dependency::Auth => Some(&self.auth),
            Dependency::Upstream(_) | Dependency::Provider(_) => None,
        }
    }
}

impl Known {
    /// Returns whether the dependency worked, and for how many seconds that is known.
    pub fn last(&self, now_ms: u64) -> Option<(bool, u64)> {
        Some((self.is_up.get()?, now_ms.saturating_sub(self.at_ms.get()) / 1000))
    }

    /// Returns whether to probe the dependency, and if so records that it is probed.
    pub fn is_probe_due(&self, now_ms: u64) -> bool {
        let is_due = now_ms.abs_diff(self.at_ms.get().max(self.probed_ms.get())) >= PROBE_MS;
        if is_due {
            self.probed_ms.set(now_ms);
        }
        is_due
    }
}

impl ShownMetrics {
    /// Returns whether to read the counters again, and if so records that they are read.
    pub fn is_read_due(&self, now_ms: u64) -> bool {
        let is_due = now_ms.abs_diff(self.asked_ms.get()) >= READ_MS;
        if is_due {
            self.asked_ms.set(now_ms);
        }
        is_due
    }
}

/// The age at which the last state of a dependency is too old, so that it is probed.
const PROBE_MS: u64 = 5000;
/// How often the counters are read.
const READ_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependency_is_probed_once_in_five_seconds_and_not_while_requests_use_it() {
        let state = OperatorState::default();
        let known = state.of(Dependency::Store).unwrap();
        assert_eq!(known.last(100_000), None);
        assert!(known.is_probe_due(100_000));
        assert!((100_000..105_000).all(|now_ms| !known.is_probe_due(now_ms)));
        assert!(known.is_probe_due(105_000));
        state.record(Dependency::Store, false, 109_000);
        assert_eq!(known.last(111_500), Some((false, 2)));
        assert!(!known.is_probe_due(113_999) && known.is_probe_due(114_000));
        state.record(Dependency::Upstream("x"), true, 115_000);
        assert_eq!(known.last(115_000), Some((false, 6)));
        assert_eq!(state.of(Dependency::Auth).unwrap().last(115_000), None);
    }
}
