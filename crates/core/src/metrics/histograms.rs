//! Histograms among the edges' counters. An edge counts an observation once, at the smallest bound
//! that it does not exceed, because the store bills each counter that moves. The reader of the
//! counters adds up the buckets of Prometheus, of which each includes the smaller ones.

use std::collections::BTreeMap;

/// How many bounds a histogram has.
pub const HISTOGRAM_BOUNDS: usize = 10;

/// Returns the bounds of a histogram in ms.
pub fn histogram_bounds_ms(name: &str) -> &'static [u64; HISTOGRAM_BOUNDS] {
    if name == CLEARANCE_AGE { &AGES_MS } else { &DURATIONS_MS }
}

/// Returns the counters of a histogram of a route, or of all if that is empty: how many
/// observations are up to each bound and above the one before it, and their sum. The last of
/// `counts` has those above all bounds.
pub fn histogram_counters(
    name: &str,
    route: &str,
    counts: &[u64; HISTOGRAM_BOUNDS + 1],
    sum_ms: u64,
) -> Vec<(String, u64)> {
    let (mut labels, mut counters) = (String::new(), Vec::new());
    if !route.is_empty() {
        labels = format!("route=\"{route}\"");
    }
    let comma = if labels.is_empty() { "" } else { "," };
    for (place, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let bound = histogram_bounds_ms(name).get(place).map(u64::to_string);
        let bound = bound.unwrap_or_else(|| INFINITE.to_owned());
        counters.push((format!("{name}{OBSERVATIONS}{{{labels}{comma}le=\"{bound}\"}}"), *count));
    }
    if sum_ms > 0 {
        counters.push((format!("{name}_milliseconds_sum{{{labels}}}"), sum_ms));
    }
    counters
}

/// Adds a counter as Prometheus shows it: observations to each bucket with their bound and above,
/// and to the count.
pub(super) fn add_counter(counters: &mut BTreeMap<String, u64>, field: &str, count: u64) {
    let mut add = |field: String, count: u64| {
        let sum = counters.entry(field).or_default();
        *sum = sum.saturating_add(count);
    };
    let Some((name, labels, smallest)) = observations(field) else {
        add(field.to_owned(), count);
        return;
    };
    let bounds = histogram_bounds_ms(name).map(|bound| (Some(bound), bound.to_string()));
    for (bound, text) in bounds.into_iter().chain([(None, INFINITE.to_owned())]) {
        if bound.is_none_or(|bound| smallest.is_some_and(|smallest| smallest <= bound)) {
            add(format!("{name}_milliseconds_bucket{{{labels}le=\"{text}\"}}"), count);
        }
    }
    let labels = labels.trim_end_matches(',');
    add(format!("{name}_milliseconds_count{{{labels}}}"), count);
    add(format!("{name}_milliseconds_sum{{{labels}}}"), 0);
}

/// Returns the name of a histogram, the labels before the bound, and the bound, if a field counts
/// observations. The bound is `None` if there is no highest one.
fn observations(field: &str) -> Option<(&str, &str, Option<u64>)> {
    let (name, labels) = field.split_once('{')?;
    let (labels, bound) = labels.strip_suffix("\"}")?.rsplit_once("le=\"")?;
    let is_last = labels.is_empty() || labels.ends_with("\",");
    let bound = if bound == INFINITE { None } else { Some(bound.parse().ok()?) };
    Some((name.strip_suffix(OBSERVATIONS).filter(|_| is_last)?, labels, bound))
}

/// The end of the name of a counter of observations.
const OBSERVATIONS: &str = "_milliseconds_observations";
const INFINITE: &str = "+Inf";
/// The histogram of how old clearances are when they are used.
const CLEARANCE_AGE: &str = "clearance_age";
const DURATIONS_MS: [u64; HISTOGRAM_BOUNDS] = [2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000];
const AGES_MS: [u64; HISTOGRAM_BOUNDS] =
    [100, 500, 1000, 2500, 5000, 10_000, 15_000, 30_000, 60_000, 300_000];

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn shown(counters: Vec<(String, u64)>) -> Vec<(String, u64)> {
        let mut shown = BTreeMap::new();
        counters.iter().for_each(|(field, count)| add_counter(&mut shown, field, *count));
        shown.into_iter().collect()
    }

    #[test]
    fn few_counters_become_buckets_that_include_the_smaller_ones() {
        let mut counts = [0; HISTOGRAM_BOUNDS + 1];
        (counts[1], counts[9], counts[10]) = (3, 1, 2);
        let counters = histogram_counters("store", "", &counts, 24_000);
        let field = |own: &str| format!("store_milliseconds_{own}");
        let expect = [
            ("observations{le=\"5\"}", 3),
            ("observations{le=\"5000\"}", 1),
            ("observations{le=\"+Inf\"}", 2),
            ("sum{}", 24_000),
        ];
        assert_eq!(counters, expect.map(|(own, count)| (field(own), count)));
        let expect = [
            ("bucket{le=\"+Inf\"}", 6),
            ("bucket{le=\"10\"}", 3),
            ("bucket{le=\"100\"}", 3),
            ("bucket{le=\"1000\"}", 3),
            ("bucket{le=\"25\"}", 3),
            ("bucket{le=\"250\"}", 3),
            ("bucket{le=\"5\"}", 3),
            ("bucket{le=\"50\"}", 3),
            ("bucket{le=\"500\"}", 3),
            ("bucket{le=\"5000\"}", 4),
            ("count{}", 6),
            ("sum{}", 24_000),
        ];
        assert_eq!(shown(counters), expect.map(|(own, count)| (field(own), count)));
    }

    #[test]
    fn histograms_of_routes_and_of_ages_have_labels_and_bounds_of_their_own() {
        let mut counts = [0; HISTOGRAM_BOUNDS + 1];
        counts[9] = 1;
        let of_route = shown(histogram_counters("request", "a,le=", &counts, 0));
        let names: Vec<&str> = of_route.iter().map(|(field, _)| field.as_str()).collect();
        let expect = [
            "request_milliseconds_bucket{route=\"a,le=\",le=\"+Inf\"}",
            "request_milliseconds_bucket{route=\"a,le=\",le=\"5000\"}",
            "request_milliseconds_count{route=\"a,le=\"}",
            "request_milliseconds_sum{route=\"a,le=\"}",
        ];
        assert_eq!(names, expect);
        let ages = shown(histogram_counters("clearance_age", "", &counts, 0));
        assert_eq!(ages[1].0, "clearance_age_milliseconds_bucket{le=\"300000\"}");
        // Any other field is a counter of its own.
        for field in [
            "x_milliseconds_observations{}",
            "x_milliseconds_observations{le=\"many\"}",
            "x_milliseconds_observations{pile=\"5\"}",
            "requests_total{route=\"a\",le=\"5\"}",
        ] {
            assert_eq!(shown(vec![(field.to_owned(), 2)]), [(field.to_owned(), 2)]);
        }
    }
}
