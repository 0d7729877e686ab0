//! Counters and latencies of this isolate: to Workers Analytics Engine where it is bound, a point a request; and
//! in batches to the store, from where the auth service shows them to Prometheus.

use crate::{Arrival, config, host, store, task};
use portcullis_core::Policy;
use redis_rest::Command;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;

thread_local! {
    /// What was counted since the last batch, by the name and labels that Prometheus will see.
    static COUNTS: RefCell<BTreeMap<String, u64>> = const { RefCell::new(BTreeMap::new()) };
    static SENT_AT_MS: Cell<u64> = const { Cell::new(0) };
}

/// How a request ended.
pub struct Ending<'a> {
    pub outcome: &'a str,
    pub code: Option<&'a str>,
    pub status: u16,
    pub ms: u64,
}

/// Counts a request.
pub fn count(ending: &Ending<'_>, arrival: &Arrival) {
    let trace = &arrival.trace;
    let Some(policy) = trace.policy.get() else {
        return;
    };
    let route = trace.route.get().map_or("none", |route| route.name.as_str());
    let code = ending.code.unwrap_or("none");
    let tier = trace.tier.get().map_or("none", |tier| tier.name());
    if let Some(points) = config::points() {
        let blobs = [route, ending.outcome, code, tier, &arrival.colo].join("\n");
        let numbers = [trace.store_ms.get(), trace.provider_ms.get(), trace.upstream_ms.get()];
        let mut doubles = format!("{}\n{}", ending.status, ending.ms);
        numbers.iter().for_each(|number| {
            let _ = write!(doubles, "\n{number}");
        });
        host::point(&points, route, &blobs, &doubles);
    }
    if policy.observability.metrics_seconds == 0 {
        return;
    }
    COUNTS.with_borrow_mut(|counts| {
        let outcome = ending.outcome;
        add(
            counts,
            format!("requests_total{{route=\"{route}\",outcome=\"{outcome}\",code=\"{code}\"}}"),
            1,
        );
        if tier != "none" {
            add(counts, format!("verdicts_total{{route=\"{route}\",cache=\"{tier}\"}}"), 1);
        }
        if trace.unopened.get() {
            add(counts, "records_unopened_total{}".to_owned(), 1);
        }
        for limit in trace.violated(false) {
            add(counts, format!("limited_total{{limit=\"{limit}\",shadow=\"false\"}}"), 1);
        }
        for limit in trace.violated(true) {
            add(counts, format!("limited_total{{limit=\"{limit}\",shadow=\"true\"}}"), 1);
        }
        if let Some(degraded) = trace.degraded.get() {
            add(counts, format!("degraded_total{{route=\"{route}\",how=\"{degraded}\"}}"), 1);
        }
        measure(counts, "request", &format!("route=\"{route}\""), ending.ms);
        if trace.store_ms.get() > 0 {
            measure(counts, "store", "", trace.store_ms.get());
        }
        if trace.upstream_ms.get() > 0 {
            measure(counts, "upstream", &format!("route=\"{route}\""), trace.upstream_ms.get());
        }
    });
    send(policy, arrival);
}

/// Counts a breaker that opened or closed.
pub fn breaker(dependency: &str, state: &str, policy: &Policy) {
    if policy.observability.metrics_seconds > 0 {
        // An issuer's name may hold what ends a label.
        let dependency: String = dependency
            .chars()
            .map(|c| if matches!(c, '"' | '\\' | '{' | '}') { '_' } else { c })
            .collect();
        let field =
            format!("breaker_changes_total{{dependency=\"{dependency}\",state=\"{state}\"}}");
        COUNTS.with_borrow_mut(|counts| add(counts, field, 1));
    }
}

fn add(counts: &mut BTreeMap<String, u64>, field: String, count: u64) {
    if counts.len() < FIELDS_MAX || counts.contains_key(&field) {
        *counts.entry(field).or_default() += count;
    }
}

/// A histogram as Prometheus has it: each bucket counts what is below it, too.
fn measure(counts: &mut BTreeMap<String, u64>, of: &str, labels: &str, ms: u64) {
    let comma = if labels.is_empty() { "" } else { "," };
    for most in BUCKETS_MS.into_iter().filter(|most| ms <= *most) {
        add(counts, format!("{of}_milliseconds_bucket{{{labels}{comma}le=\"{most}\"}}"), 1);
    }
    add(counts, format!("{of}_milliseconds_bucket{{{labels}{comma}le=\"+Inf\"}}"), 1);
    add(counts, format!("{of}_milliseconds_count{{{labels}}}"), 1);
    add(counts, format!("{of}_milliseconds_sum{{{labels}}}"), ms);
}

/// Sends what was counted, after the answer, once in a while. What the store does not take is sent with the
/// next batch.
fn send(policy: &'static Policy, arrival: &Arrival) {
    let sent_at_ms = SENT_AT_MS.get();
    if arrival.now_ms < sent_at_ms + u64::from(policy.observability.metrics_seconds) * 1000 {
        return;
    }
    SENT_AT_MS.set(arrival.now_ms);
    // The first batch of an isolate is sent when it is one.
    if sent_at_ms == 0 {
        return;
    }
    let own = arrival.alone();
    task::after(async move {
        let batch = COUNTS.take();
        let key = policy.keys.metrics();
        let mut commands: Vec<Command> = batch
            .iter()
            .map(|(field, count)| Command::new("HINCRBY").arg(&key).arg(field).arg(*count))
            .collect();
        commands.push(Command::new("EXPIRE").arg(&key).arg(KEPT_SECONDS));
        if !store::tell(policy, &commands, &own).await {
            COUNTS.with_borrow_mut(|counts| {
                batch.into_iter().for_each(|(field, count)| add(counts, field, count));
            });
        }
    });
}

const BUCKETS_MS: [u64; 10] = [2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000];
/// Most names with labels in one batch.
const FIELDS_MAX: usize = 800;
/// For how long counts are kept that nobody adds to.
const KEPT_SECONDS: u32 = 7 * 86_400;
