//! Failed authentications of the clients that may introspect tokens.

use portcullis_core::UnixSeconds;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts failed authentications, and decides which ones are recorded. Recording each one would let
/// an attacker fill the audit.
#[derive(Default)]
pub struct FailedClients {
    /// The failures by the names of known clients; `None` for all unknown names together.
    failures: Mutex<BTreeMap<Option<String>, Failures>>,
}

#[derive(Default)]
struct Failures {
    recorded_at: Option<u64>,
    unrecorded: u64,
}

impl FailedClients {
    /// Counts a failure of a known client, or of an unknown one with `None`. Returns the number of
    /// failures to record, including earlier ones that were not recorded. Returns `None` within a
    /// minute of the last record.
    pub fn count(&self, known: Option<&str>, now: UnixSeconds) -> Option<u64> {
        let mut all = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.entry(known.map(str::to_owned)).or_default();
        own.unrecorded += 1;
        if own.recorded_at.is_some_and(|at| now.0 < at.saturating_add(RECORD_SECONDS)) {
            return None;
        }
        own.recorded_at = Some(now.0);
        Some(std::mem::take(&mut own.unrecorded))
    }
}

/// How long failures of a client are only counted, after one was recorded.
const RECORD_SECONDS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_a_minute_is_recorded_with_the_number_of_the_others() {
        let (failed, at) = (FailedClients::default(), |seconds: u64| UnixSeconds(1000 + seconds));
        assert_eq!(failed.count(Some("edge"), at(0)), Some(1));
        assert_eq!(failed.count(None, at(0)), Some(1));
        for second in 1..60 {
            assert_eq!(failed.count(Some("edge"), at(second)), None);
        }
        assert_eq!(failed.count(Some("edge"), at(60)), Some(60));
        assert_eq!(failed.count(None, at(60)), Some(1));
    }
}
