//! The edges' counters as text for Prometheus. The store has their totals: metric names with
//! labels, and counts.

use super::histograms::add_counter;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The text instead of the counters, if they can't be read.
pub const METRICS_UNREADABLE: &str = "# TYPE portcullis_edge_metrics_readable gauge\n\
    portcullis_edge_metrics_readable 0\n";

/// Reads the totals, as the store returns them: a name with labels, a space and a count in each
/// line. Returns the counters as Prometheus shows them, of which each name has up to 13. Skips what
/// is not a sample, and those after too many counters.
pub fn read_counters(totals: &str) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    for line in totals.split('\n') {
        if let Some((field, count)) = line.rsplit_once(' ')
            && let (true, Ok(count)) = (is_sample(field), count.parse())
        {
            add_counter(&mut counters, field, count);
        }
        if counters.len() >= COUNTERS_MAX {
            break;
        }
    }
    counters
}

/// Formats the totals, as the store returns them. Skips what is not a sample.
pub fn format_samples(totals: &str) -> String {
    let counters = read_counters(totals);
    let mut families: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
    for (field, count) in &counters {
        let (name, _) = field.split_once('{').unwrap_or((field, ""));
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        families.entry(family.unwrap_or(name)).or_default().push((field, *count));
    }
    let mut text = String::new();
    for (family, samples) in families {
        let kind = if family.ends_with("_milliseconds") { "histogram" } else { "counter" };
        let _ = writeln!(text, "# TYPE portcullis_edge_{family} {kind}");
        for (field, count) in samples {
            let _ = writeln!(
                text,
                "portcullis_edge_{} {count}",
                field.strip_suffix("{}").unwrap_or(field)
            );
        }
    }
    text
}

/// Returns whether a field is a metric name with labels. One malformed line would make Prometheus
/// reject the whole text.
fn is_sample(field: &str) -> bool {
    let name =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let label = |text: &str| {
        let value = text.split_once('=').filter(|(key, _)| name(key)).map(|(_, value)| value);
        let value = value.and_then(|value| value.strip_prefix('"')?.strip_suffix('"'));
        value.is_some_and(|value| {
            value.bytes().all(|b| (b.is_ascii_graphic() || b == b' ') && !b"\"\\{}".contains(&b))
        })
    };
    let Some((start, labels)) = field.split_once('{') else {
        return false;
    };
    let labels = labels.strip_suffix('}');
    // Values contain no quotes, so each `",` ends a value.
    field.len() <= 512
        && name(start)
        && labels.is_some_and(|labels| {
            labels.is_empty()
                || labels.split_inclusive("\",").all(|one| label(one.trim_end_matches(',')))
        })
}

/// More counters than any gate has.
const COUNTERS_MAX: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn counters_are_bounded_and_no_sum_overflows() {
        let line = |at: usize| {
            format!("x_milliseconds_observations{{r=\"{at}\",le=\"2\"}} {}\n", u64::MAX)
        };
        let counters = read_counters(&(0..COUNTERS_MAX).map(line).collect::<String>());
        assert!((COUNTERS_MAX..COUNTERS_MAX + 13).contains(&counters.len()));
        let twice = line(1) + &line(1);
        assert!(read_counters(&twice).values().all(|count| [0, u64::MAX].contains(count)));
    }

    #[test]
    fn samples_are_formatted_and_malformed_fields_skipped() {
        let fields = [
            ("requests_total{route=\"api\",outcome=\"forwarded\"}", "3"),
            ("request_milliseconds_bucket{le=\"+Inf\"}", "3"),
            ("request_milliseconds_sum{}", "12"),
            ("records_unopened_total{}", "1"),
            ("no sample", "1"),
            ("requests_total{bad}", "1"),
            ("requests_total{route=\"a\",}x\"}", "1"),
            ("Requests{}", "1"),
            ("requests_total{route=\"a\\\"}", "1"),
            ("bad{x=\"\t\"}", "1"),
            ("worse{}}", "1"),
            ("requests_total{route=\"x\"}", "many"),
        ];
        let totals: String =
            fields.iter().map(|(name, count)| format!("{name} {count}\n")).collect();
        let expect = "# TYPE portcullis_edge_records_unopened_total counter\n\
             portcullis_edge_records_unopened_total 1\n\
             # TYPE portcullis_edge_request_milliseconds histogram\n\
             portcullis_edge_request_milliseconds_bucket{le=\"+Inf\"} 3\n\
             portcullis_edge_request_milliseconds_sum 12\n\
             # TYPE portcullis_edge_requests_total counter\n\
             portcullis_edge_requests_total{route=\"api\",outcome=\"forwarded\"} 3\n";
        assert_eq!(format_samples(&totals), expect);
    }
}
