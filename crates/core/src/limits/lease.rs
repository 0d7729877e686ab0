//! Leases: quota that an isolate has taken from the store in advance, and spends without asking it
//! again.
//!
//! The store counts a lease when it is taken. So a lease that is never used, a lost response, a
//! retry and the death of an isolate can only admit fewer requests. A unit that is taken at one
//! time may be spent up to a lease's life later. To keep every interval within the algorithm's
//! bound, all charges on a leased limit are made against a burst that is smaller by what the rate
//! supplies in a lease's life.

use crate::cache::GenerationalCache;
use crate::policy::limit::{Algorithm, Limit, LimitTiming};

/// How a limit is leased for one quota.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseTerms {
    /// How long a lease lasts, counted from the moment at which the isolate asked for it, in
    /// milliseconds.
    pub life_ms: u64,
    /// The most that one lease has.
    pub units_max: u32,
    /// By how much the burst is smaller for all charges.
    pub reserve: u32,
}

impl Limit {
    /// Returns how the limit is leased for a quota, which may be a plan's; `None` if each request
    /// is counted by itself. A limit that supplies fewer than two requests in a lease's life is
    /// not leased, and one whose lease would last less than 200 ms is not either.
    pub fn lease_terms(&self, quota: u32) -> Option<LeaseTerms> {
        let LimitTiming::Leased { seconds } = self.timing else {
            return None;
        };
        let (quota, window_ms) = (u64::from(quota), u64::from(self.window_seconds) * 1000);
        let life_ms = u64::from(seconds) * 1000;
        let supplied = quota * life_ms / window_ms.max(1);
        let terms = if self.algorithm.is_calendar() {
            // It ends with the period, so it needs no reserve. What is not used of it is lost, so
            // it is a small part of the quota.
            let least = if self.algorithm == Algorithm::Credits { CREDITS_AHEAD_MAX } else { 0 };
            LeaseTerms { life_ms, units_max: narrow(quota / 100).max(least), reserve: 0 }
        } else if self.algorithm.has_burst() {
            let burst = u64::from(self.burst_of(u32::try_from(quota).unwrap_or(u32::MAX)));
            let reserve = supplied.min(burst / 2);
            // The lease ends when the rate has supplied what the burst lacks.
            let life_ms = life_ms.min(reserve * window_ms / quota.max(1));
            LeaseTerms { life_ms, units_max: narrow(reserve), reserve: narrow(reserve) }
        } else {
            // The lease of a window ends with the window at the latest, so it needs no reserve.
            LeaseTerms { life_ms: life_ms.min(window_ms), units_max: narrow(supplied), reserve: 0 }
        };
        (terms.units_max >= 2 && terms.life_ms >= LIFE_MS_MIN).then_some(terms)
    }
}

/// What an isolate decides on a request by its leases.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spend {
    /// The request is within a lease.
    Admitted {
        /// What the store had left when it was last asked, in requests of cost 1.
        left: u64,
        /// The time until more was left then, in milliseconds.
        more_ms: u64,
        /// The quota that applied then.
        quota: u32,
        /// How much to take in advance now, in the background; 0 for nothing.
        ahead: u32,
    },
    /// The store must count the request.
    Ask {
        /// How much to take in advance with it; 0 for nothing.
        ahead: u32,
    },
}

/// The store's response to a question about a lease.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Granted {
    /// What was taken in advance.
    pub units: u32,
    /// The time within which that must be used, in milliseconds; 0 if the algorithm does not say.
    pub ends_ms: u64,
    /// What is left in the store, in requests of cost 1.
    pub left: u64,
    /// The time until more is left, in milliseconds.
    pub more_ms: u64,
    /// The quota that applied.
    pub quota: u32,
}

/// The leases of an isolate, in a bounded cache. A key that is forgotten is counted by the store
/// again.
#[derive(Clone)]
pub struct Leases {
    held: GenerationalCache<LeaseKey, Held>,
    /// The latest time that was seen, in Unix milliseconds.
    latest_ms: u64,
    /// The latest time that was seen before the clock last went back.
    void_until_ms: u64,
    keys_max: usize,
}

/// What a lease is for: a counted key, and the quota that applies to it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LeaseKey {
    /// The hash of [`crate::LimitCheck::key`].
    pub key: [u8; 32],
    /// The quota.
    pub quota: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Held {
    /// The lease that ends first, then the other one.
    leases: [Lease; 2],
    /// What was requested since `since_ms`.
    requested: u64,
    /// When the isolate last asked for a lease, or first saw the key (Unix ms).
    since_ms: u64,
    /// Until when an earlier question may still be answered (Unix ms).
    asking_until_ms: u64,
    left: u64,
    more_ms: u64,
    quota: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    units: u32,
    until_ms: u64,
}

impl From<LeaseKey> for [u8; 32] {
    fn from(own: LeaseKey) -> Self {
        combined(own.key, own.quota.into())
    }
}

/// Returns a key that differs for each hash and number. The rest of the hash, 192 bits, tells
/// hashes apart.
pub(super) fn combined(mut key: [u8; 32], number: u64) -> [u8; 32] {
    for (byte, other) in key.iter_mut().zip(number.to_le_bytes()) {
        *byte ^= other;
    }
    key
}

impl Leases {
    /// Creates leases for `keys_max` keys per generation, so for twice as many at most.
    pub fn new(keys_max: usize) -> Self {
        let held = GenerationalCache::new(keys_max, usize::MAX);
        Self { held, latest_ms: 0, void_until_ms: 0, keys_max }
    }

    /// Spends a request's cost if a lease has it. `now_ms` is in Unix milliseconds, and may be
    /// earlier than the true time by 50 ms.
    pub fn spend(&mut self, key: LeaseKey, terms: LeaseTerms, cost: u32, now_ms: u64) -> Spend {
        self.observe(now_ms);
        let now_ms = self.latest_ms;
        let known = self.held.get(key, |_| 0);
        let mut held = known.unwrap_or(Held { since_ms: now_ms, ..Held::default() });
        let spent = held.take(cost, now_ms);
        // Until the clock has caught up after it went back, no answer gives a lease.
        let may_ask = known.is_some() && now_ms > self.void_until_ms;
        let ahead = if may_ask { held.ahead(terms, cost, spent, now_ms) } else { 0 };
        held.requested = held.requested.saturating_add(u64::from(cost));
        if ahead > 0 {
            held.asking_until_ms = now_ms + terms.life_ms.min(ASKING_MS_MAX);
            held.since_ms = now_ms;
            held.requested = 0;
        }
        let spend = match spent {
            true => {
                let Held { left, more_ms, quota, .. } = held;
                Spend::Admitted { left, more_ms, quota, ahead }
            }
            false => Spend::Ask { ahead },
        };
        self.held.insert(key, held, 0);
        spend
    }

    /// Adds what the store granted. The lease's life counts from `asked_ms`, the time at which the
    /// question was sent: the store cannot have counted it earlier.
    pub fn grant(
        &mut self,
        key: LeaseKey,
        terms: LeaseTerms,
        granted: Granted,
        asked_ms: u64,
        now_ms: u64,
    ) {
        self.observe(now_ms);
        let now_ms = self.latest_ms;
        let life_ms = match granted.ends_ms {
            0 => terms.life_ms,
            ends_ms => terms.life_ms.min(ends_ms),
        };
        let until_ms = (asked_ms + life_ms).saturating_sub(CLOCK_MARGIN_MS);
        // What was asked before the clock went back would last too long.
        let is_usable = granted.units > 0
            && asked_ms > self.void_until_ms
            && (asked_ms..until_ms).contains(&now_ms);
        self.held.update(key, |held| {
            held.asking_until_ms = 0;
            held.left = granted.left;
            held.more_ms = granted.more_ms;
            held.quota = granted.quota;
            if is_usable {
                held.add(Lease { units: granted.units, until_ms }, now_ms);
            }
        });
    }

    /// Records that the store did not answer. What it may have counted is lost.
    pub fn fail(&mut self, key: LeaseKey) {
        self.held.update(key, |held| held.asking_until_ms = 0);
    }

    /// Records the time. If the clock went back, drops all leases: they would last too long. A step
    /// that no call sees, because the clock has caught up before the next one, prolongs the leases
    /// by the step.
    pub fn observe(&mut self, now_ms: u64) {
        if now_ms + CLOCK_MARGIN_MS < self.latest_ms {
            self.held = GenerationalCache::new(self.keys_max, usize::MAX);
            self.void_until_ms = self.void_until_ms.max(self.latest_ms);
            self.latest_ms = now_ms;
        }
        self.latest_ms = self.latest_ms.max(now_ms);
    }
}

impl Held {
    /// Takes `cost` units from the leases, those that end first before the others.
    /// Takes all or none.
    fn take(&mut self, cost: u32, now_ms: u64) -> bool {
        self.leases.iter_mut().for_each(|lease| lease.end(now_ms));
        if self.units() < u64::from(cost) {
            return false;
        }
        let mut due = cost;
        for lease in &mut self.leases {
            let taken = due.min(lease.units);
            lease.units -= taken;
            due -= taken;
        }
        true
    }

    fn units(&self) -> u64 {
        self.leases.iter().map(|lease| u64::from(lease.units)).sum()
    }

    /// Returns how much to take in advance now. That is what the key's rate is expected to use in
    /// a lease's life, less what it still has. It is 0 while an earlier question is open, if the
    /// leases last long enough, and if the key is so slow that a lease would serve one request.
    fn ahead(&self, terms: LeaseTerms, cost: u32, spent: bool, now_ms: u64) -> u32 {
        if now_ms < self.asking_until_ms {
            return 0;
        }
        // A short burst says little about the rate.
        let elapsed_ms = now_ms.saturating_sub(self.since_ms).max(terms.life_ms / 4).max(1);
        let requested = self.requested.saturating_add(u64::from(cost));
        let expected = requested.saturating_mul(terms.life_ms) / elapsed_ms;
        let expected = expected.min(u64::from(terms.units_max));
        if expected < 2 * u64::from(cost) {
            return 0;
        }
        let until_ms = self.leases.iter().filter(|lease| lease.units > 0).map(|own| own.until_ms);
        let left_ms = until_ms.max().unwrap_or(0).saturating_sub(now_ms);
        let is_low = self.units() < expected / 4 || left_ms < terms.life_ms / 4;
        if spent && !is_low {
            return 0;
        }
        let used_before_the_end = expected * left_ms / terms.life_ms;
        narrow(expected - self.units().min(used_before_the_end))
    }

    fn add(&mut self, new: Lease, now_ms: u64) {
        self.leases.iter_mut().for_each(|lease| lease.end(now_ms));
        let [first, last] = &mut self.leases;
        if last.units == 0 {
            *last = new;
        } else if first.units == 0 {
            *first = std::mem::replace(last, new);
        } else {
            // Only if an answer was late. The sum ends when the first of both ends.
            last.units = last.units.saturating_add(new.units);
            last.until_ms = last.until_ms.min(new.until_ms);
        }
        if first.units > 0 && last.until_ms < first.until_ms {
            std::mem::swap(first, last);
        }
    }
}

impl Lease {
    fn end(&mut self, now_ms: u64) {
        if now_ms >= self.until_ms {
            self.units = 0;
        }
    }
}

fn narrow(units: u64) -> u32 {
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// How much a lease ends early, in milliseconds. An isolate's clock stands still between I/O, and
/// the requests of one isolate may see it in another order.
pub const CLOCK_MARGIN_MS: u64 = 50;
/// The most credits in one lease, if there is no quota of which it could be a part.
const CREDITS_AHEAD_MAX: u32 = 1000;
/// How long a question is expected to be answered, in milliseconds. Its task may have been dropped.
const ASKING_MS_MAX: u64 = 5000;
/// The shortest life of a lease, in milliseconds. A shorter one saves no questions.
const LIFE_MS_MIN: u64 = 200;

#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod model;
#[cfg(test)]
mod tests;
