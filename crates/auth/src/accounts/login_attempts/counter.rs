//! The arithmetic of one counter of login attempts. `login_attempts.lua` does the same in the
//! store.

use std::time::Duration;

/// The limits of a counter.
#[derive(Clone, Copy, Debug)]
pub struct CounterLimits {
    /// How many attempts are accepted without a wait.
    pub free_attempts: u32,
    /// The longest wait.
    pub wait_max: Duration,
    /// How long it takes until one attempt no longer counts.
    pub drain: Duration,
}

/// An operation on a counter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// Returns the wait.
    Query,
    /// Counts an attempt whose outcome is not known yet, unless it has to wait.
    Add,
    /// Removes an attempt, and with it the wait that it caused.
    Remove,
}

/// The attempts that a counter contains. All times are in milliseconds of one clock.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CounterState {
    attempts: u64,
    /// When the oldest attempt begins to drain.
    since_ms: u64,
    wait_until_ms: u64,
}

impl CounterLimits {
    /// Returns the wait after `over` attempts more than the free ones.
    fn wait_ms(&self, over: u64) -> u64 {
        to_ms(self.wait_max).min(1000 << over.min(20))
    }

    /// Returns the milliseconds until one attempt no longer counts.
    pub fn drain_ms(&self) -> u64 {
        to_ms(self.drain).max(1)
    }
}

impl CounterState {
    /// Applies a step. Returns the milliseconds to wait; 0 if an attempt is accepted.
    pub fn apply(&mut self, step: Step, limits: &CounterLimits, now_ms: u64) -> u64 {
        self.drain(limits.drain_ms(), now_ms);
        let wait_ms = self.wait_until_ms.saturating_sub(now_ms);
        match step {
            Step::Query => return wait_ms,
            Step::Add if wait_ms > 0 => return wait_ms,
            Step::Add => {
                if self.attempts == 0 {
                    self.since_ms = now_ms;
                }
                self.attempts += 1;
                let over = self.attempts.checked_sub(limits.free_attempts.into());
                self.wait_until_ms = over.map_or(0, |over| now_ms + limits.wait_ms(over));
            }
            Step::Remove => {
                self.attempts = self.attempts.saturating_sub(1);
                self.wait_until_ms = 0;
            }
        }
        0
    }

    /// Returns when the counter returns to its initial state.
    pub fn ends_at_ms(&self, limits: &CounterLimits) -> u64 {
        let drained = self.since_ms + self.attempts * limits.drain_ms();
        if self.attempts == 0 { self.wait_until_ms } else { drained.max(self.wait_until_ms) }
    }

    /// Removes the attempts that no longer count. Whole attempts drain, so that the number of free
    /// attempts is as documented.
    fn drain(&mut self, drain_ms: u64, now_ms: u64) {
        let drained = (now_ms.saturating_sub(self.since_ms) / drain_ms).min(self.attempts);
        self.attempts -= drained;
        self.since_ms += drained * drain_ms;
    }
}

fn to_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
