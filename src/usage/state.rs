//! The counts of an isolate, and the batches that the store has not accepted yet.

use portcullis_core::UsageCounts;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// The usage that an isolate has counted.
#[derive(Default)]
pub struct UsageState {
    pub counts: RefCell<UsageCounts>,
    waiting: RefCell<VecDeque<Waiting>>,
    /// When the interval began, in Unix ms.
    begun_ms: Cell<u64>,
    /// Until when a task is pushing, unless it ends before.
    pushing_until_ms: Cell<u64>,
    /// Until when batches are dropped, because too many wait in the store.
    paused_until_ms: Cell<u64>,
    lost: Cell<u64>,
}

/// A batch that the store has not accepted yet.
struct Waiting {
    text: String,
    /// How many requests it counts.
    requests: u64,
}

impl UsageState {
    /// Returns whether a batch is due. An isolate's first interval begins with its first request.
    /// Within an interval a batch is due if the counts are full and no other batch waits: one that
    /// is sent is enough, and while the store is down, more would push older ones out.
    pub fn is_due(&self, now_ms: u64, interval_ms: u64, are_full: bool) -> bool {
        let begun_ms = self.begun_ms.get();
        let is_over = now_ms.abs_diff(begun_ms) >= interval_ms;
        if is_over || begun_ms == 0 {
            self.begun_ms.set(now_ms);
        }
        begun_ms != 0 && (is_over || are_full && self.waiting.borrow().is_empty())
    }

    /// Adds a batch. Drops the oldest if there are too many, and this one while the store has too
    /// many.
    pub fn add(&self, text: String, requests: u64, now_ms: u64) {
        if now_ms < self.paused_until_ms.get() {
            self.lost.set(self.lost.get() + requests);
            return;
        }
        let mut waiting = self.waiting.borrow_mut();
        waiting.push_back(Waiting { text, requests });
        if waiting.len() > WAITING_MAX
            && let Some(oldest) = waiting.pop_front()
        {
            self.lost.set(self.lost.get() + oldest.requests);
        }
    }

    /// Returns the oldest batch. It stays until it is removed: its task may end before the store
    /// has replied.
    pub fn first(&self) -> Option<String> {
        self.waiting.borrow().front().map(|batch| batch.text.clone())
    }

    /// Removes a batch that the store has.
    pub fn remove(&self, text: &str) {
        self.waiting.borrow_mut().retain(|batch| batch.text != text);
    }

    /// Returns whether no other task is pushing. One that takes longer than the store's timeout for
    /// each batch has ended without notice.
    pub fn begin_pushing(&self, now_ms: u64, timeout_ms: u64) -> bool {
        if now_ms < self.pushing_until_ms.get() {
            return false;
        }
        self.pushing_until_ms.set(now_ms + timeout_ms * (WAITING_MAX as u64 + 1));
        true
    }

    /// Lets other tasks push.
    pub fn end_pushing(&self) {
        self.pushing_until_ms.set(0);
    }

    /// Drops further batches until a time.
    pub fn pause(&self, until_ms: u64) {
        self.paused_until_ms.set(until_ms);
    }

    /// Takes the number of requests that were lost.
    pub fn take_lost(&self) -> u64 {
        self.lost.take() + self.counts.borrow_mut().take_lost()
    }
}

/// How many batches an isolate keeps while the store does not accept them.
const WAITING_MAX: usize = 4;

#[cfg(test)]
mod tests;
