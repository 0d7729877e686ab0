//! The faults of a run, and the results that they explain.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// `REVOCATION_SECONDS_MAX` of the run.
pub const REVOCATION_SECONDS_MAX: u64 = 2;

/// How late a revoked token may pass: `REVOCATION_SECONDS_MAX`, plus the time of a request on a
/// busy machine.
const BOUND: Duration = Duration::from_millis(1000 * REVOCATION_SECONDS_MAX + 500);

/// The time until a revocation answered with 202 is delivered after a fault: the outbox's longest
/// pause of 5 s, and a second for the delivery.
const DELIVERY: Duration = Duration::from_secs(6);

/// The time until a store that lost data has its revocations again: a check every 2 s, and a
/// second for the writes.
const RESTORATION: Duration = Duration::from_secs(3);

/// The most recent writes that a killed Redis with `appendfsync everysec` may lose.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// The data that the store loses in a fault.
#[derive(Clone, Copy, PartialEq)]
pub enum Loss {
    Nothing,
    LastWrites,
    Everything,
}

/// A revocation whose response has arrived.
#[derive(Clone, Copy)]
pub struct Revocation {
    pub at: Instant,
    /// Whether the response promised that the store has the revocation.
    pub delivered: bool,
    /// When the accepted request was sent, if an event of a provider revoked. The auth service does
    /// not know such a revocation, so it does not restore it.
    pub pushed: Option<Instant>,
}

/// A fault, from its start until the system works as before.
#[derive(Clone)]
pub struct Window {
    pub name: String,
    pub loss: Loss,
    pub begun: Instant,
    pub ended: Option<Instant>,
    /// The time from its end until requests succeed again.
    pub back: Option<Duration>,
    /// Requests that failed meanwhile.
    pub failed: u64,
}

impl Window {
    /// Returns when the effects of the fault ended; `None` if they continue.
    fn over(&self) -> Option<Instant> {
        // A breaker may open again for up to a second.
        Some(self.ended? + self.back? + Duration::from_secs(2))
    }

    fn contains(&self, moment: Instant) -> bool {
        moment >= self.begun && self.over().is_none_or(|over| moment <= over)
    }

    /// Returns whether the store may have lost what it was given between `sent` and `answered`.
    fn loses(&self, sent: Instant, answered: Instant) -> bool {
        let recent = match self.loss {
            Loss::Nothing => false,
            Loss::LastWrites => answered + LAST_WRITES >= self.begun,
            Loss::Everything => true,
        };
        recent && self.ended.is_none_or(|ended| sent <= ended)
    }

    fn overlaps(&self, from: Instant, to: Instant) -> bool {
        to >= self.begun && self.over().is_none_or(|over| from <= over)
    }
}

#[derive(Default)]
pub struct History(Mutex<Vec<Window>>);

impl History {
    pub fn begin(&self, name: String, loss: Loss) {
        let begun = Instant::now();
        let window = Window { name, loss, begun, ended: None, back: None, failed: 0 };
        self.0.lock().unwrap().push(window);
    }

    pub fn end(&self) {
        if let Some(last) = self.0.lock().unwrap().last_mut() {
            last.ended = Some(Instant::now());
        }
    }

    pub fn is_back(&self, after: Duration) {
        if let Some(last) = self.0.lock().unwrap().last_mut() {
            last.back = Some(after);
        }
    }

    pub fn windows(&self) -> Vec<Window> {
        self.0.lock().unwrap().clone()
    }

    /// Returns whether a fault explains that a request failed, and counts it for that fault.
    pub fn explains_failure(&self, sent: Instant, answered: Instant) -> bool {
        let mut windows = self.0.lock().unwrap();
        let window = windows.iter_mut().rev().find(|window| window.overlaps(sent, answered));
        window.map(|window| window.failed += 1).is_some()
    }

    /// Describes the last fault, for findings.
    pub fn last_fault(&self) -> String {
        let windows = self.0.lock().unwrap();
        let Some(last) = windows.last() else { return "no fault yet".to_owned() };
        format!("{:?} after {} began", last.begun.elapsed(), last.name)
    }

    pub fn is_calm(&self, moment: Instant) -> bool {
        !self.0.lock().unwrap().iter().any(|window| window.contains(moment))
    }

    /// Returns whether the store may have lost a revocation that was pushed.
    pub fn may_have_lost(&self, revocation: Revocation) -> bool {
        let Some(pushed) = revocation.pushed else { return false };
        self.0.lock().unwrap().iter().any(|window| window.loses(pushed, revocation.at))
    }

    /// Returns whether a fault was injected in this time.
    pub fn had_fault(&self, from: Instant, to: Instant) -> bool {
        self.0.lock().unwrap().iter().any(|window| window.overlaps(from, to))
    }

    /// Returns how often the store may have lost data in this time.
    pub fn losses(&self, from: Instant, to: Instant) -> usize {
        let windows = self.0.lock().unwrap();
        let lossy = windows.iter().filter(|window| window.loss != Loss::Nothing);
        lossy.filter(|window| window.overlaps(from, to)).count()
    }

    /// Returns whether a stated bound explains that a revoked token passed.
    pub fn excuses(&self, revocation: Revocation, sent: Instant) -> bool {
        if sent <= revocation.at + BOUND {
            return true;
        }
        if revocation.pushed.is_some() {
            return self.may_have_lost(revocation);
        }
        let windows = self.0.lock().unwrap();
        let by = |moment: Option<Instant>| moment.is_none_or(|moment| sent <= moment);
        let mut undelivered = windows.iter().filter(|window| window.contains(revocation.at));
        if !revocation.delivered
            && (by(Some(revocation.at + BOUND + DELIVERY))
                || undelivered.any(|window| by(window.ended.map(|end| end + BOUND + DELIVERY))))
        {
            return true;
        }
        windows.iter().any(|window| {
            let lost = match window.loss {
                Loss::Nothing => false,
                Loss::LastWrites => revocation.at + LAST_WRITES >= window.begun,
                Loss::Everything => true,
            };
            lost && sent >= window.begun && by(window.ended.map(|end| end + RESTORATION + BOUND))
        })
    }
}
