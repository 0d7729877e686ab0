//! How long deliveries take, from the commit of a change to the store's confirmation.

use prometheus::core::Collector as _;
use prometheus::{Histogram, HistogramOpts, Registry};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The times of all deliveries of this process.
#[derive(Clone)]
pub struct DeliveryTimes {
    histogram: Histogram,
    /// The longest one since it was last taken, in ms.
    longest_ms: Arc<AtomicU64>,
}

/// The times so far, as a histogram has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeliveryCounts {
    /// How many were within each bound in ms.
    pub buckets: Vec<(u64, u64)>,
    pub count: u64,
    pub sum_ms: u64,
}

impl DeliveryTimes {
    /// Creates the histogram, and registers it.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let options = HistogramOpts::new(
            "portcullis_auth_delivery_seconds",
            "Time from the commit of a change to the store's confirmation.",
        );
        let bounds = DELIVERY_BOUNDS_MS.map(|bound| f64::from(bound) / 1000.0);
        let histogram = Histogram::with_opts(options.buckets(bounds.to_vec()))?;
        registry.register(Box::new(histogram.clone()))?;
        Ok(Self { histogram, longest_ms: Arc::default() })
    }

    /// Counts a delivery.
    pub fn observe(&self, time: Duration) {
        self.histogram.observe(time.as_secs_f64());
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.longest_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// Returns the times so far.
    pub fn counts(&self) -> DeliveryCounts {
        let mut counts = DeliveryCounts::default();
        for family in self.histogram.collect() {
            for metric in family.get_metric() {
                let histogram = metric.get_histogram();
                counts.count = histogram.get_sample_count();
                // Times are positive, and their sum far below 2^64 ms.
                counts.sum_ms = (histogram.get_sample_sum() * 1000.0).round() as u64;
                let cumulative =
                    histogram.get_bucket().iter().map(|bucket| bucket.cumulative_count());
                counts.buckets =
                    DELIVERY_BOUNDS_MS.into_iter().map(u64::from).zip(cumulative).collect();
            }
        }
        counts
    }

    /// Returns the longest time since the last call, in ms; `None` without a delivery.
    pub fn take_longest_ms(&self) -> Option<u64> {
        Some(self.longest_ms.swap(0, Ordering::Relaxed)).filter(|ms| *ms > 0)
    }
}

/// The bounds of the edge's histograms, and some for an outage of the store.
pub const DELIVERY_BOUNDS_MS: [u32; 13] =
    [2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000, 30_000, 300_000, 3_600_000];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_by_their_bounds() {
        let times = DeliveryTimes::new(&Registry::new()).unwrap();
        assert_eq!(times.take_longest_ms(), None);
        for ms in [3, 40, 40_000] {
            times.observe(Duration::from_millis(ms));
        }
        let counts = times.counts();
        let expect = [
            (2, 0),
            (5, 1),
            (10, 1),
            (25, 1),
            (50, 2),
            (100, 2),
            (250, 2),
            (500, 2),
            (1000, 2),
            (5000, 2),
            (30_000, 2),
            (300_000, 3),
            (3_600_000, 3),
        ];
        assert_eq!(counts.buckets, expect);
        assert_eq!((counts.count, counts.sum_ms), (3, 40_043));
        assert_eq!(times.take_longest_ms(), Some(40_000));
        assert_eq!(times.take_longest_ms(), None);
    }
}
