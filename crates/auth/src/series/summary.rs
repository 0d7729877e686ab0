//! What counters add up to, as the console shows it.

use super::histogram::Histogram;
use super::labels::{label, labelled};
use crate::db::Counters;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Returns the sums and quantiles of counters.
pub fn summary(counters: &Counters) -> Map<String, Value> {
    let requests = sum(counters, "requests_total");
    let by_code = refused_by(counters, "code");
    let refused: u64 = by_code.values().sum();
    let enforced = labelled(counters, "limited_total");
    let enforced = enforced.filter(|(labels, _)| label(labels, "shadow") == Some("false"));
    let limited: u64 = enforced.map(|(_, count)| count).sum();
    let mut by_source = sums_by(counters, "verdicts_total", "cache");
    for source in ["isolate", "store", "provider", "signature"] {
        by_source.entry(source.to_owned()).or_default();
    }
    let request = Histogram::of(counters, "request_milliseconds");
    let upstream = Histogram::of(counters, "upstream_milliseconds");
    let store = Histogram::of(counters, "store_milliseconds");
    let provider = Histogram::of(counters, "provider_milliseconds");
    let delivery = Histogram::of(counters, "auth_delivery_milliseconds");
    let delivery_max = counters.get("auth_delivery_milliseconds_max").copied();
    // A quantile within a bucket is an estimate, and can exceed what was measured.
    let shown_delivery = |q| {
        let most = delivery_max.map_or(f64::INFINITY, |ms| ms as f64);
        shown_ms(&delivery, q).map(|ms| ms.min(most))
    };
    let clearance_age = Histogram::of(counters, "clearance_age_milliseconds");
    let event = |wanted: &str| {
        let events = labelled(counters, "auth_events_total");
        let counts = events.filter(|(labels, _)| label(labels, "event") == Some(wanted));
        counts.map(|(_, count)| count).sum::<u64>()
    };
    let shown = json!({
        "requests": requests,
        "accepted": requests.saturating_sub(refused),
        "refused": refused,
        "by_code": by_code,
        "by_source": by_source,
        "p50_ms": shown_ms(&request, 0.5),
        "p95_ms": shown_ms(&request, 0.95),
        "p99_ms": shown_ms(&request, 0.99),
        "upstream_p50_ms": shown_ms(&upstream, 0.5),
        "upstream_p99_ms": shown_ms(&upstream, 0.99),
        "store_p50_ms": shown_ms(&store, 0.5),
        "store_p99_ms": shown_ms(&store, 0.99),
        "provider_p99_ms": shown_ms(&provider, 0.99),
        "degraded": sums_by(counters, "degraded_total", "how"),
        "limited": limited,
        "delivery_p50_ms": shown_delivery(0.5),
        "delivery_p99_ms": shown_delivery(0.99),
        "delivery_max_ms": delivery_max,
        "clearance_age_p99_ms": shown_ms(&clearance_age, 0.99),
        "outbox_rows_max": counters.get("auth_outbox_rows_max"),
        "outbox_age_seconds_max": counters.get("auth_outbox_age_seconds_max"),
        "logins": event("login"),
        "login_failures": event("login_failed"),
    });
    match shown {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// Returns whether a member of [`summary`] is about this service, not about the edges.
pub fn is_own(member: &str) -> bool {
    ["delivery_", "outbox_", "login"].iter().any(|start| member.starts_with(start))
}

/// Returns how many requests were refused, by a label of theirs.
pub fn refused_by(counters: &Counters, name: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (labels, count) in labelled(counters, "requests_total") {
        if label(labels, "outcome") == Some("refused") {
            *sums.entry(label(labels, name).unwrap_or_default().to_owned()).or_default() += count;
        }
    }
    sums
}

/// Adds up the counters of a name by one of their labels.
fn sums_by(counters: &Counters, name: &str, by: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (labels, count) in labelled(counters, name) {
        *sums.entry(label(labels, by).unwrap_or_default().to_owned()).or_default() += count;
    }
    sums
}

fn sum(counters: &Counters, name: &str) -> u64 {
    labelled(counters, name).map(|(_, count)| count).sum()
}

/// Returns a quantile in tenths of a millisecond.
fn shown_ms(histogram: &Histogram, q: f64) -> Option<f64> {
    histogram.quantile(q).map(|ms| (ms * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up() {
        let counters: Counters = [
            ("requests_total{route=\"a\",outcome=\"forwarded\",code=\"none\"}", 90),
            ("requests_total{route=\"b\",outcome=\"answered\",code=\"none\"}", 5),
            ("requests_total{route=\"a\",outcome=\"refused\",code=\"token_expired\"}", 3),
            ("requests_total{route=\"b\",outcome=\"refused\",code=\"token_expired\"}", 1),
            ("requests_total{route=\"b\",outcome=\"refused\",code=\"rate_limited\"}", 1),
            ("verdicts_total{route=\"a\",cache=\"isolate\"}", 80),
            ("verdicts_total{route=\"b\",cache=\"isolate\"}", 8),
            ("verdicts_total{route=\"a\",cache=\"store\"}", 7),
            ("limited_total{limit=\"x\",shadow=\"false\"}", 1),
            ("limited_total{limit=\"x\",shadow=\"true\"}", 9),
            ("degraded_total{route=\"a\",how=\"limit=local\"}", 2),
            ("request_milliseconds_bucket{route=\"a\",le=\"10\"}", 100),
            ("request_milliseconds_bucket{route=\"a\",le=\"+Inf\"}", 100),
            ("auth_events_total{event=\"login\"}", 4),
            ("auth_outbox_rows_max", 6),
            ("auth_delivery_milliseconds_bucket{le=\"5\"}", 10),
            ("auth_delivery_milliseconds_bucket{le=\"+Inf\"}", 10),
            ("auth_delivery_milliseconds_max", 2),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into();
        let shown = Value::Object(summary(&counters));
        for (member, expect) in [
            ("requests", json!(100)),
            ("accepted", json!(95)),
            ("refused", json!(5)),
            ("by_code", json!({"token_expired": 4, "rate_limited": 1})),
            ("by_source", json!({"isolate": 88, "store": 7, "provider": 0, "signature": 0})),
            ("limited", json!(1)),
            ("degraded", json!({"limit=local": 2})),
            ("p50_ms", json!(7.5)),
            ("store_p50_ms", json!(null)),
            ("logins", json!(4)),
            ("login_failures", json!(0)),
            ("outbox_rows_max", json!(6)),
            ("delivery_max_ms", json!(2)),
            ("delivery_p99_ms", json!(2.0)),
        ] {
            assert_eq!(shown[member], expect, "{member}");
        }
        let by_route = refused_by(&counters, "route");
        assert_eq!(by_route, [("a".to_owned(), 3), ("b".to_owned(), 2)].into());
    }
}
