//! The events that an isolate has written to the store recently.

use crate::time::UnixSeconds;
use crate::token_hash::TokenHash;

/// The recent events of an isolate, with the time of each first arrival.
///
/// A repeated event is written again at most once a minute, so that a store that lost its markers
/// gets them back. Other repetitions cost the store nothing.
#[derive(Debug, Default)]
pub struct RecentEvents(Vec<Recent>);

#[derive(Debug)]
struct Recent {
    /// The hash of the event's id, and of what it revokes.
    id: TokenHash,
    first: UnixSeconds,
    written_at: UnixSeconds,
}

/// The state of an event that arrives.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventArrival {
    /// The isolate does not know the event.
    New,
    /// The store confirmed its markers within the last minute.
    Written,
    /// The store confirmed its markers some time ago, and may have lost them since.
    Repeated {
        /// When the event came first.
        first: UnixSeconds,
    },
}

impl RecentEvents {
    /// Returns the state of an event.
    pub fn arrival(&self, id: TokenHash, now: UnixSeconds) -> EventArrival {
        match self.0.iter().find(|recent| recent.id == id) {
            None => EventArrival::New,
            // A clock that went back tells nothing.
            Some(recent) if now.0.abs_diff(recent.written_at.0) < PAUSE_SECONDS => {
                EventArrival::Written
            }
            Some(recent) => EventArrival::Repeated { first: recent.first },
        }
    }

    /// Records that the store has confirmed the markers of an event.
    pub fn record(&mut self, id: TokenHash, first: UnixSeconds, now: UnixSeconds) {
        if let Some(recent) = self.0.iter_mut().find(|recent| recent.id == id) {
            recent.first = recent.first.min(first);
            recent.written_at = now;
            return;
        }
        // The store still knows a repeated event that the isolate forgets, unless it lost it.
        if self.0.len() >= RECENT_MAX {
            self.0.clear();
        }
        self.0.push(Recent { id, first, written_at: now });
    }
}

/// The time after which a repeated event is written again. A flood of captured events would
/// otherwise cost the store commands each second.
const PAUSE_SECONDS: u64 = 60;
/// How many events an isolate remembers.
const RECENT_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn id(number: usize) -> TokenHash {
        TokenHash::of(&number.to_string())
    }

    #[test]
    fn repeated_event_is_written_again_once_a_minute_with_its_first_arrival() {
        let (mut recent, at) =
            (RecentEvents::default(), |seconds: u64| UnixSeconds(1000 + seconds));
        assert_eq!(recent.arrival(id(1), at(0)), EventArrival::New);
        recent.record(id(1), at(0), at(0));
        for written in [0, 1, PAUSE_SECONDS - 1] {
            assert_eq!(recent.arrival(id(1), at(written)), EventArrival::Written);
        }
        let later = at(PAUSE_SECONDS);
        assert_eq!(recent.arrival(id(1), later), EventArrival::Repeated { first: at(0) });
        // Not recorded: the store did not confirm it.
        assert_eq!(recent.arrival(id(1), later), EventArrival::Repeated { first: at(0) });
        recent.record(id(1), at(5), later);
        assert_eq!(recent.arrival(id(1), later), EventArrival::Written);
        let again = at(2 * PAUSE_SECONDS);
        assert_eq!(recent.arrival(id(1), again), EventArrival::Repeated { first: at(0) });
        assert_eq!(recent.arrival(id(2), at(9)), EventArrival::New);
    }

    #[test]
    fn number_of_remembered_events_is_bounded() {
        let mut recent = RecentEvents::default();
        for number in 0..10 * RECENT_MAX {
            recent.record(id(number), UnixSeconds(5), UnixSeconds(5));
            assert!(recent.0.len() <= RECENT_MAX);
            assert_eq!(recent.arrival(id(number), UnixSeconds(5)), EventArrival::Written);
        }
    }
}
