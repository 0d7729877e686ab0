//! What the limit script computes, in whole numbers and by a clock that the caller sets.

/// A kind of algorithm. GCRA and the token bucket are the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Bucket,
    FixedWindow,
    SlidingWindow,
    /// A window that begins by the clock.
    Period,
}

/// The script's arguments that a limit determines.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rules {
    pub kind: Kind,
    pub quota: u64,
    pub window_ms: u64,
    pub burst: u64,
}

/// The state of one key.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Store {
    /// When a bucket was last settled, when a fixed window began, or which sliding window it is.
    pub at: u64,
    /// What a bucket owes, in requests times milliseconds of a window, or what a window has used.
    pub used: u64,
    /// What the sliding window before this one has used.
    pub previous: u64,
    /// Whether a fixed window or a period has begun and not ended.
    pub is_open: bool,
    /// The quota by which a bucket was written, by which it shrinks until it is written again.
    pub by: u64,
}

/// The script's reply, without the two waits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Answer {
    pub admitted: bool,
    pub left: u64,
    pub taken: u64,
    pub ends_ms: u64,
}

impl Store {
    /// Returns the state as it is at `now_ms`.
    pub fn settled(self, rules: &Rules, now_ms: u64) -> Self {
        let window_ms = rules.window_ms;
        match rules.kind {
            Kind::Bucket => {
                let by = if self.by > 0 { self.by } else { rules.quota };
                let supplied = (now_ms - self.at) * by;
                Self { at: now_ms, used: self.used.saturating_sub(supplied), ..self }
            }
            Kind::FixedWindow | Kind::Period if self.is_open && now_ms < self.at + window_ms => {
                self
            }
            Kind::FixedWindow | Kind::Period => Self::default(),
            Kind::SlidingWindow => {
                let index = now_ms / window_ms;
                match index - self.at {
                    0 => self,
                    1 => Self { at: index, used: 0, previous: self.used, ..self },
                    _ => Self { at: index, ..Self::default() },
                }
            }
        }
    }

    /// Returns how far `cost` more would be beyond the limit, in requests times milliseconds of a
    /// window. It is admitted if this is at most 0.
    pub fn beyond(self, rules: &Rules, now_ms: u64, cost: u64) -> i128 {
        let own = self.settled(rules, now_ms);
        let window_ms = i128::from(rules.window_ms);
        let (used, cost) = (i128::from(own.used), i128::from(cost));
        let (burst, quota) = (i128::from(rules.burst), i128::from(rules.quota));
        match rules.kind {
            Kind::Bucket => used + (cost - burst) * window_ms,
            Kind::FixedWindow | Kind::Period => (used + cost - quota) * window_ms,
            Kind::SlidingWindow => {
                let rest_ms = window_ms - i128::from(now_ms % rules.window_ms);
                i128::from(own.previous) * rest_ms + (used + cost - quota) * window_ms
            }
        }
    }

    /// Returns whether `cost` more is within the limit.
    pub fn admits(self, rules: &Rules, now_ms: u64, cost: u64) -> bool {
        self.beyond(rules, now_ms, cost) <= 0
    }

    /// Returns the highest cost that is within the limit.
    pub fn left(self, rules: &Rules, now_ms: u64) -> u64 {
        let room = -self.beyond(rules, now_ms, 0);
        u64::try_from(room / i128::from(rules.window_ms)).unwrap_or(0)
    }

    /// Counts `cost`, whether or not it is within the limit.
    pub fn count(&mut self, rules: &Rules, now_ms: u64, cost: u64) {
        *self = self.settled(rules, now_ms);
        let begins_ms = match rules.kind {
            Kind::FixedWindow => Some(now_ms),
            Kind::Period => Some(now_ms - now_ms % rules.window_ms),
            Kind::Bucket | Kind::SlidingWindow => None,
        };
        if let Some(at) = begins_ms.filter(|_| cost > 0 && !self.is_open) {
            *self = Self { at, is_open: true, ..Self::default() };
        }
        if cost > 0 {
            self.by = rules.quota;
        }
        self.used += if rules.kind == Kind::Bucket { cost * rules.window_ms } else { cost };
    }

    /// Decides on `cost`, and takes at most `wanted` in advance.
    pub fn ask(&mut self, rules: &Rules, now_ms: u64, cost: u64, wanted: u64) -> Answer {
        let admitted = self.admits(rules, now_ms, cost);
        let left = self.left(rules, now_ms);
        let taken = if admitted { wanted.min((left - cost) / 4) } else { 0 };
        let counted = if admitted { cost + taken } else { 0 };
        self.count(rules, now_ms, counted);
        let ends_ms = match rules.kind {
            Kind::Bucket => 0,
            Kind::FixedWindow | Kind::Period if self.is_open => self.at + rules.window_ms - now_ms,
            Kind::FixedWindow => rules.window_ms,
            Kind::SlidingWindow | Kind::Period => rules.window_ms - now_ms % rules.window_ms,
        };
        Answer { admitted, left: left - counted, taken, ends_ms }
    }
}
