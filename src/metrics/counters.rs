//! The counters and histograms of an isolate.

use super::observed::Observed;
use portcullis_core::{HISTOGRAM_BOUNDS, LimitDecision, histogram_bounds_ms, histogram_counters};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Counts since the last batch, by the name and labels that Prometheus will show.
pub type Batch = BTreeMap<String, u64>;

/// The counters and histograms of an isolate.
#[derive(Default)]
pub struct Counters {
    counts: RefCell<Batch>,
    histograms: RefCell<Vec<Histogram>>,
    /// For each limit, how many requests passed it, were refused, and would have been refused by it
    /// in shadow.
    limit_checks: RefCell<Vec<(&'static str, [u64; 3])>>,
    sent_at_ms: Cell<u64>,
    /// What else operators learn with the next batch.
    pub observed: Observed,
}

/// A histogram, whose fields get their names with the batch: each request adds to some.
struct Histogram {
    name: &'static str,
    /// The route that it is of; empty for all.
    route: &'static str,
    bounds_ms: &'static [u64; HISTOGRAM_BOUNDS],
    /// How many observations are in each bucket alone. The last has those above all bounds.
    counts: [u64; HISTOGRAM_BOUNDS + 1],
    sum_ms: u64,
}

impl Counters {
    /// Adds to the counter `field`.
    pub fn add(&self, field: String, count: u64) {
        let mut counts = self.counts.borrow_mut();
        if counts.len() < FIELDS_MAX || counts.contains_key(&field) {
            *counts.entry(field).or_default() += count;
        }
    }

    /// Adds to counters of which none makes sense without the others: to all of them. If they
    /// have no room, adds to no counter.
    fn add_together(&self, fields: Vec<(String, u64)>) {
        let mut counts = self.counts.borrow_mut();
        let new = fields.iter().filter(|(field, _)| !counts.contains_key(field)).count();
        if counts.len() + new <= FIELDS_MAX {
            for (field, count) in fields {
                *counts.entry(field).or_default() += count;
            }
        }
    }

    /// Adds an observation in ms to a histogram of a route; of all, if the route's name is empty.
    pub fn observe(&self, name: &'static str, route: &'static str, ms: u64) {
        let mut histograms = self.histograms.borrow_mut();
        let is_own = |own: &&mut Histogram| own.route == route && own.name == name;
        if let Some(own) = histograms.iter_mut().find(is_own) {
            own.observe(ms);
        } else if histograms.len() < FIELDS_MAX {
            let (bounds_ms, counts) = (histogram_bounds_ms(name), Default::default());
            let mut own = Histogram { name, route, bounds_ms, counts, sum_ms: 0 };
            own.observe(ms);
            histograms.push(own);
        }
    }

    /// Counts the decision of a limit.
    pub fn add_limit_check(&self, decision: &LimitDecision<'static>) {
        let result = match (decision.admitted, decision.limit.shadow) {
            (true, _) => 0,
            (false, false) => 1,
            (false, true) => 2,
        };
        let (mut checks, name) = (self.limit_checks.borrow_mut(), decision.limit.name.as_str());
        if let Some((_, counts)) = checks.iter_mut().find(|(own, _)| *own == name) {
            counts.iter_mut().skip(result).take(1).for_each(|count| *count += 1);
        } else {
            checks.push((name, std::array::from_fn(|at| u64::from(at == result))));
        }
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
        for (limit, counts) in self.limit_checks.take() {
            for (result, count) in ["passed", "refused", "shadow"].into_iter().zip(counts) {
                if count > 0 {
                    self.add(
                        format!("limit_checks_total{{limit=\"{limit}\",result=\"{result}\"}}"),
                        count,
                    );
                }
            }
        }
        for Histogram { name, route, counts, sum_ms, .. } in self.histograms.take() {
            self.add_together(histogram_counters(name, route, &counts, sum_ms));
        }
        self.counts.take()
    }

    /// Adds the counts of a batch that could not be sent. They come first, so that none of its
    /// histograms is cut.
    pub fn restore(&self, batch: Batch) {
        let newer = self.counts.replace(batch);
        newer.into_iter().for_each(|(field, count)| self.add(field, count));
    }
}

impl Histogram {
    fn observe(&mut self, ms: u64) {
        let place = self.bounds_ms.iter().position(|bound| ms <= *bound);
        let place = place.unwrap_or(HISTOGRAM_BOUNDS);
        self.counts.iter_mut().skip(place).take(1).for_each(|count| *count += 1);
        self.sum_ms += ms;
    }
}

/// The most names with labels in one batch. The script that adds batches up reads no more.
const FIELDS_MAX: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observation_moves_two_counters() {
        let counters = Counters::default();
        for ms in [0, 2, 3, 300, 6000] {
            counters.observe("store", "", ms);
        }
        counters.observe("request", "api", 7);
        let batch = counters.take_batch();
        let expect = [
            ("request_milliseconds_observations{route=\"api\",le=\"10\"}", 1),
            ("request_milliseconds_sum{route=\"api\"}", 7),
            ("store_milliseconds_observations{le=\"+Inf\"}", 1),
            ("store_milliseconds_observations{le=\"2\"}", 2),
            ("store_milliseconds_observations{le=\"5\"}", 1),
            ("store_milliseconds_observations{le=\"500\"}", 1),
            ("store_milliseconds_sum{}", 6305),
        ];
        let found: Vec<_> = batch.iter().map(|(field, count)| (field.as_str(), *count)).collect();
        assert_eq!(found, expect);
        assert!(counters.take_batch().is_empty());
        // What could not be sent is a part of the next batch.
        counters.restore(batch);
        counters.observe("store", "", 1);
        let again = counters.take_batch();
        assert_eq!(again.get("store_milliseconds_observations{le=\"2\"}"), Some(&3));
    }

    #[test]
    fn histogram_without_room_is_left_out_as_a_whole() {
        let counters = Counters::default();
        // Each needs two fields: one bound, and the sum.
        let fill = |count: usize| {
            (0..count).for_each(|at| counters.add(format!("own{at}{{}}"), 1));
            ["a", "b"].into_iter().for_each(|route| counters.observe("request", route, 1));
            let batch = counters.take_batch();
            (batch.len() - count, batch)
        };
        assert_eq!(fill(FIELDS_MAX - 4).0, 4);
        let (fields, batch) = fill(FIELDS_MAX - 3);
        assert_eq!(fields, 2);
        assert!(batch.keys().all(|field| !field.contains("route=\"b\"")));
        // Nor is one cut by what was counted while the batch was in flight.
        (0..100).for_each(|at| counters.add(format!("newer{at}{{}}"), 1));
        counters.restore(batch);
        let again = counters.take_batch();
        assert_eq!(again.len(), FIELDS_MAX);
        assert_eq!(again.keys().filter(|field| field.contains("route=\"a\"")).count(), 2);
    }

    #[test]
    fn script_reads_as_many_names_as_a_batch_has() {
        let reads = format!("add(batch, {FIELDS_MAX})");
        assert!(portcullis_core::TOTALS_SCRIPT.contains(&reads));
    }
}
