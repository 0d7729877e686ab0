//! What an isolate observes for operators besides its counters, until the next batch.

use portcullis_core::RefusalSample;
use std::cell::{Cell, OnceCell, RefCell};

/// The observations since the last batch, and what the store is known to have.
#[derive(Default)]
pub struct Observed {
    since_batch: RefCell<Observation>,
    /// The isolate's name.
    name: OnceCell<String>,
    /// Whether the store lacks the policy.
    pub lacks_policy: Cell<bool>,
    /// Whether the store has too many isolates' states, so that all are to be written again.
    pub has_too_many: Cell<bool>,
    /// When the life of what the isolate writes was set last, in Unix milliseconds; 0 if nothing
    /// was written yet.
    pub renewed_ms: Cell<u64>,
    /// Whether it was logged that the store refuses some of it.
    pub was_logged: Cell<bool>,
}

/// What happened since the last batch.
#[derive(Default)]
pub struct Observation {
    /// How many requests came.
    pub requests: u64,
    /// What was decided without the store, each name once.
    pub degraded: Vec<&'static str>,
    /// The age of the oldest clearance by which a request was accepted.
    pub clearance_age_ms_max: u64,
    /// A sample of the refusals.
    pub refusals: RefusalSample,
}

impl Observed {
    /// Returns the isolate's name: the first 8 random characters of the id of a request of its.
    pub fn name(&self, request_id: &str) -> &str {
        self.name.get_or_init(|| request_id.get(..8).unwrap_or_default().to_owned())
    }

    /// Returns whether the isolate has written something before.
    pub fn was_written(&self) -> bool {
        self.renewed_ms.get() != 0
    }

    /// Returns whether to set the life of what the isolate writes again. That is rare, because
    /// stores bill each command.
    pub fn is_renewal_due(&self, now_ms: u64) -> bool {
        now_ms.abs_diff(self.renewed_ms.get()) >= RENEW_MS
    }

    /// Applies `change` to the observations.
    pub fn update(&self, change: impl FnOnce(&mut Observation)) {
        change(&mut self.since_batch.borrow_mut());
    }

    /// Takes the observations since the last batch.
    pub fn take(&self) -> Observation {
        self.since_batch.take()
    }

    /// Adds observations that could not be sent.
    pub fn restore(&self, earlier: Observation) {
        self.update(|own| {
            own.requests += earlier.requests;
            earlier.degraded.into_iter().for_each(|name| own.add_degraded(name));
            own.clearance_age_ms_max = own.clearance_age_ms_max.max(earlier.clearance_age_ms_max);
            own.refusals.restore(earlier.refusals);
        });
    }
}

impl Observation {
    /// Adds what was decided without the store.
    pub fn add_degraded(&mut self, name: &'static str) {
        if !self.degraded.contains(&name) {
            self.degraded.push(name);
        }
    }
}

/// Much less than anything that the isolate writes is kept.
const RENEW_MS: u64 = 300_000;
