//! The counters and histograms of an isolate.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Counts since the last batch, by the name and labels that Prometheus will show.
pub type Batch = BTreeMap<String, u64>;

/// The counters and histograms of an isolate.
#[derive(Default)]
pub struct Counters {
    counts: RefCell<Batch>,
    sent_at_ms: Cell<u64>,
}

impl Counters {
    /// Adds to the counter `field`.
    pub fn add(&self, field: String, count: u64) {
        let mut counts = self.counts.borrow_mut();
        if counts.len() < FIELDS_MAX || counts.contains_key(&field) {
            *counts.entry(field).or_default() += count;
        }
    }

    /// Adds an observation in ms to a histogram. As in Prometheus, each bucket includes the smaller
    /// ones.
    pub fn observe(&self, name: &str, labels: &str, ms: u64) {
        let comma = if labels.is_empty() { "" } else { "," };
        for most in BUCKETS_MS.into_iter().filter(|most| ms <= *most) {
            self.add(format!("{name}_milliseconds_bucket{{{labels}{comma}le=\"{most}\"}}"), 1);
        }
        self.add(format!("{name}_milliseconds_bucket{{{labels}{comma}le=\"+Inf\"}}"), 1);
        self.add(format!("{name}_milliseconds_count{{{labels}}}"), 1);
        self.add(format!("{name}_milliseconds_sum{{{labels}}}"), ms);
    }

    /// Counts that a circuit breaker opened or closed.
    pub fn add_breaker_change(&self, dependency: &str, state: &str) {
        // An issuer's name may contain characters that would end a label.
        let dependency: String = dependency
            .chars()
            .map(|c| if matches!(c, '"' | '\\' | '{' | '}') { '_' } else { c })
            .collect();
        self.add(
            format!("breaker_changes_total{{dependency=\"{dependency}\",state=\"{state}\"}}"),
            1,
        );
    }

    /// Returns whether a batch is due, and if so starts the next interval. An isolate's first
    /// interval starts with its first request.
    pub fn is_batch_due(&self, now_ms: u64, interval_ms: u64) -> bool {
        let sent_at_ms = self.sent_at_ms.get();
        if now_ms < sent_at_ms + interval_ms {
            return false;
        }
        self.sent_at_ms.set(now_ms);
        sent_at_ms != 0
    }

    /// Takes the counts since the last batch.
    pub fn take_batch(&self) -> Batch {
        self.counts.take()
    }

    /// Adds the counts of a batch that could not be sent.
    pub fn restore(&self, batch: Batch) {
        batch.into_iter().for_each(|(field, count)| self.add(field, count));
    }
}

const BUCKETS_MS: [u64; 10] = [2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000];
/// The most names with labels in one batch.
const FIELDS_MAX: usize = 800;
