//! The list of blocked networks, as the isolate has it.

use portcullis_core::{BlockedNetworks, UnixSeconds};
use std::cell::{Cell, RefCell};
use std::net::IpAddr;

/// The last list that the store returned. It is kept while the store fails: each of its entries has
/// an end.
#[derive(Default)]
pub struct BlockList {
    networks: RefCell<BlockedNetworks>,
    /// When the list was asked for, in Unix milliseconds.
    held_ms: Cell<u64>,
    /// When a list was asked for last, in Unix milliseconds.
    asked_ms: Cell<u64>,
    /// Whether the store has answered that question.
    is_answered: Cell<bool>,
    /// Whether the last list could not be read, which is logged once.
    is_unreadable: Cell<bool>,
}

impl BlockList {
    /// Returns whether an address is blocked.
    pub fn contains(&self, address: Option<IpAddr>, now: UnixSeconds) -> bool {
        address.is_some_and(|address| self.networks.borrow().contain(address, now))
    }

    /// Returns whether no network is blocked.
    pub fn is_empty(&self) -> bool {
        self.networks.borrow().is_empty()
    }

    /// Returns whether to fetch the list now, and if so takes the question for asked.
    ///
    /// A list is fetched when it is `refresh_ms` old, less a quarter. A question without an answer
    /// is asked again after an eighth, because the platform drops a task with the client that it
    /// began with. So a list is hardly ever older than `refresh_ms` in an isolate that is in use.
    pub fn begins_fetch(&self, refresh_ms: u64, now_ms: u64) -> bool {
        let asked_ms = self.asked_ms.get();
        let pause_ms = match self.is_answered.get() {
            true => refresh_ms - refresh_ms / 4,
            false => (refresh_ms / 8).max(RETRY_MS_MIN),
        };
        // If the clock went back, the list would seem younger than it is.
        let went_back = now_ms + CLOCK_MS < asked_ms;
        if now_ms < asked_ms + pause_ms && !went_back {
            return false;
        }
        if went_back {
            self.held_ms.set(0);
        }
        self.asked_ms.set(now_ms);
        self.is_answered.set(false);
        true
    }

    /// Replaces the list by the store's text of it, which was asked for at `asked_ms`; `None` if
    /// the store has none. An answer to an earlier question changes nothing. Returns whether to log
    /// that the text can't be read, in which case the list stays as it is.
    pub fn replace(&self, text: Option<&str>, asked_ms: u64) -> bool {
        if asked_ms < self.held_ms.get() {
            return false;
        }
        self.is_answered.set(true);
        let parsed = match text {
            Some(text) if text.len() > BYTES_MAX => None,
            Some(text) => BlockedNetworks::parse(text),
            None => Some(BlockedNetworks::default()),
        };
        let was_unreadable = self.is_unreadable.replace(parsed.is_none());
        match parsed {
            Some(networks) => {
                self.held_ms.set(asked_ms);
                self.networks.replace(networks);
                false
            }
            None => !was_unreadable,
        }
    }
}

/// The shortest time between two questions, if the first one gets no answer.
const RETRY_MS_MIN: u64 = 250;
/// How far the clock may go back: it may be corrected by a few milliseconds at any time.
const CLOCK_MS: u64 = 50;
/// The longest list, in bytes.
const BYTES_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn one(network: &str) -> String {
        format!(r#"{{"v":1,"networks":[["{network}",2000]]}}"#)
    }

    fn blocks(list: &BlockList, address: &str, seconds: u64) -> bool {
        list.contains(address.parse().ok(), UnixSeconds(seconds))
    }

    #[test]
    fn list_is_fetched_before_it_is_too_old() {
        let list = BlockList::default();
        assert!(list.begins_fetch(4000, 1_000_000), "the first request fetches it");
        assert!(!list.begins_fetch(4000, 1_000_499), "it is being fetched");
        list.replace(None, 1_000_000);
        assert!(!list.begins_fetch(4000, 1_002_999));
        assert!(list.begins_fetch(4000, 1_003_000));
        list.replace(None, 1_003_000);
        assert!(!list.begins_fetch(4000, 1_002_960), "a small correction of the clock");
        assert!(list.begins_fetch(4000, 900_000), "the clock went back");
        assert!(!list.begins_fetch(4000, 900_001));
    }

    #[test]
    fn question_whose_client_left_is_asked_again_soon() {
        let list = BlockList::default();
        for now_ms in [1_000_000, 1_000_500, 1_001_000] {
            assert!(list.begins_fetch(4000, now_ms));
            assert!(!list.begins_fetch(4000, now_ms + 499));
        }
        assert!(!list.begins_fetch(1000, 1_001_249) && list.begins_fetch(1000, 1_001_250));
    }

    #[test]
    fn answer_to_an_earlier_question_changes_nothing() {
        let list = BlockList::default();
        assert!(list.is_empty());
        assert!(!list.replace(Some(&one("192.0.2.0/24")), 2000));
        assert!(!list.replace(None, 1999));
        assert!(blocks(&list, "192.0.2.1", 1999) && !blocks(&list, "192.0.2.1", 2000));
        assert!(!list.contains(None, UnixSeconds(0)));
        assert!(!list.replace(None, 2001));
        assert!(list.is_empty());
        list.begins_fetch(4000, 5000);
        list.begins_fetch(4000, 1000);
        assert!(!list.replace(Some(&one("192.0.2.0/24")), 1000), "the clock went back");
        assert!(blocks(&list, "192.0.2.1", 0));
    }

    #[test]
    fn unreadable_list_is_logged_once_and_replaces_nothing() {
        let list = BlockList::default();
        list.replace(Some(&one("192.0.2.1")), 1000);
        assert!(list.replace(Some("{}"), 2000));
        assert!(!list.replace(Some(&" ".repeat(BYTES_MAX + 1)), 3000), "logged already");
        assert!(blocks(&list, "192.0.2.1", 0));
        assert!(!list.replace(Some(&one("192.0.2.2")), 4000));
        assert!(!blocks(&list, "192.0.2.1", 0) && blocks(&list, "192.0.2.2", 0));
        assert!(list.replace(Some("{}"), 5000), "another time");
    }
}
