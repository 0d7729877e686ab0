//! Quantiles of histograms.

use crate::db::Counters;
use crate::outbox::DELIVERY_BOUNDS_MS;
use std::collections::BTreeMap;

/// A histogram: how many observations are at most each bound.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// The bounds in ascending order, and the cumulative counts.
    buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Adds up the histograms of a name, such as `request_milliseconds`, whatever their labels. A
    /// bucket that counted nothing may be missing, so the known bounds are there in any case.
    pub fn of(counters: &Counters, name: &str) -> Self {
        let start = format!("{name}_bucket{{");
        let known = bounds_ms(name).iter().map(|bound| (f64::from(*bound).to_bits(), 0_u64));
        let mut sums: BTreeMap<u64, u64> = known.collect();
        let fields = counters.range(start.clone()..);
        for (field, count) in fields.take_while(|(field, _)| field.starts_with(&start)) {
            // The bits of positive numbers have the order of the numbers.
            if let Some(bound) = upper_bound(field).filter(|bound| *bound >= 0.0) {
                let sum = sums.entry(bound.to_bits()).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
        let mut largest = 0;
        let buckets = sums.into_iter().map(|(bound, count)| {
            // A reading in the middle of a write may have buckets that do not fit together.
            largest = count.max(largest);
            (f64::from_bits(bound), largest)
        });
        Self { buckets: buckets.collect() }
    }

    /// Returns a quantile, as Prometheus's `histogram_quantile` does: linear within a bucket, and
    /// the largest finite bound if it is above that. Returns `None` without observations.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.buckets.last().map(|(_, count)| *count).filter(|total| *total > 0)?;
        // Counts are far below 2^53.
        let rank = q.clamp(0.0, 1.0) * total as f64;
        let (mut below, mut lower) = (0, 0.0);
        for (bound, count) in &self.buckets {
            if *count as f64 >= rank && *count > 0 {
                let inside = count - below;
                return Some(match bound.is_finite() && inside > 0 {
                    true => lower + (bound - lower) * (rank - below as f64) / inside as f64,
                    false => lower,
                });
            }
            (below, lower) = (*count, *bound);
        }
        Some(lower)
    }
}

/// Returns the upper bound of a bucket, such as `store_milliseconds_bucket{le="5"}`. It is the last
/// label.
fn upper_bound(field: &str) -> Option<f64> {
    match field.strip_suffix("\"}")?.rsplit_once("le=\"")?.1 {
        "+Inf" => Some(f64::INFINITY),
        bound => bound.parse().ok(),
    }
}

/// Returns the bounds that edge or auth service give a histogram, in ms.
fn bounds_ms(name: &str) -> &'static [u32] {
    match name {
        "clearance_age_milliseconds" => &AGES_MS,
        "auth_delivery_milliseconds" => &DELIVERY_BOUNDS_MS,
        _ => &BOUNDS_MS,
    }
}

const BOUNDS_MS: [u32; 10] = [2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000];
const AGES_MS: [u32; 10] = [100, 500, 1000, 2500, 5000, 10_000, 15_000, 30_000, 60_000, 300_000];

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(buckets: &[(&str, u64)]) -> Histogram {
        let counters: Counters = buckets
            .iter()
            .map(|(bound, count)| (format!("x_milliseconds_bucket{{le=\"{bound}\"}}"), *count))
            .collect();
        Histogram::of(&counters, "x_milliseconds")
    }

    fn close(found: Option<f64>, expect: f64) {
        assert!(found.is_some_and(|found| (found - expect).abs() < 1e-9), "{found:?} {expect}");
    }

    /// By hand: 10 observations of at most 2, 30 of 2 to 5, 60 of 5 to 10.
    #[test]
    fn quantiles_are_linear_within_a_bucket() {
        let three = histogram(&[("2", 10), ("5", 40), ("10", 100), ("+Inf", 100)]);
        close(three.quantile(0.05), 1.0);
        close(three.quantile(0.1), 2.0);
        close(three.quantile(0.25), 3.5);
        close(three.quantile(0.5), 5.0 + 5.0 * 10.0 / 60.0);
        close(three.quantile(0.99), 5.0 + 5.0 * 59.0 / 60.0);
        close(three.quantile(1.0), 10.0);
        close(three.quantile(7.0), 10.0);
    }

    #[test]
    fn quantile_above_all_bounds_is_the_largest_bound() {
        let late = histogram(&[("5", 1), ("10", 2), ("+Inf", 10)]);
        close(late.quantile(0.1), 5.0);
        close(late.quantile(0.2), 10.0);
        close(late.quantile(0.9), 5000.0);
        close(histogram(&[("60000", 1), ("+Inf", 2)]).quantile(0.9), 60_000.0);
    }

    #[test]
    fn bucket_without_observations_bounds_the_next_one() {
        close(histogram(&[("50", 10), ("+Inf", 10)]).quantile(0.5), 37.5);
        close(histogram(&[("30000", 10), ("+Inf", 10)]).quantile(0.5), 17_500.0);
        close(histogram(&[("2", 10)]).quantile(0.5), 1.0);
    }

    /// Clearances have other bounds than requests.
    #[test]
    fn ages_have_bounds_of_their_own() {
        let counters: Counters =
            [("clearance_age_milliseconds_bucket{le=\"500\"}".to_owned(), 8)].into();
        close(Histogram::of(&counters, "clearance_age_milliseconds").quantile(0.5), 300.0);
        close(histogram(&[("500", 8)]).quantile(0.5), 375.0);
    }

    #[test]
    fn no_observation_has_no_quantile() {
        assert_eq!(histogram(&[]).quantile(0.5), None);
        assert_eq!(histogram(&[("5", 0), ("+Inf", 0)]).quantile(0.5), None);
    }

    #[test]
    fn histograms_of_all_labels_add_up() {
        let counters: Counters = [
            ("x_milliseconds_bucket{route=\"a\",le=\"10\"}", 2),
            ("x_milliseconds_bucket{route=\"a\",le=\"+Inf\"}", 3),
            ("x_milliseconds_bucket{route=\"b\",le=\"10\"}", 5),
            ("x_milliseconds_bucket{route=\"b\",le=\"100\"}", 6),
            ("x_milliseconds_bucket{route=\"b\",le=\"+Inf\"}", 6),
            ("x_milliseconds_sum{route=\"b\"}", 600),
            ("xy_milliseconds_bucket{le=\"1\"}", 9),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into();
        let histogram = Histogram::of(&counters, "x_milliseconds");
        let count =
            |bound: f64| histogram.buckets.iter().find(|bucket| bucket.0 == bound).unwrap().1;
        assert_eq!([5.0, 10.0, 100.0, f64::INFINITY].map(count), [0, 7, 7, 9]);
    }
}
