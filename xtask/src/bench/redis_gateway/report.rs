//! The table of a run, and its raw numbers.

use super::sample::{Load, Sample};
use crate::bench::measure::spread;
use serde_json::{Value, json};

/// Returns the table in Markdown.
pub fn report(
    rows: &[(&Load, u32, Vec<Sample>)],
    memory: &[(u64, u64)],
    rounds: u32,
    seconds: u32,
) -> String {
    let mut text = format!(
        "Medians of {rounds} rounds of {seconds} s, wrk with one thread; in brackets the lowest and the highest \
         ratio of a round.\n\n\
         | request | connections | requests/s | of redis-benchmark -P 1 | p50 ms | p99 ms | p99/p50 \
         | CPU of the redis gateway a request | redis-benchmark: requests/s, p50, p99 ms |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    for (load, connections, samples) in rows {
        let of = |f: fn(&Sample) -> f64| spread(samples.iter().map(f).collect());
        let ratio = spread(samples.iter().map(|s| s.requests / s.yardstick).collect());
        let commands = if load.commands > 1 {
            format!(" ({:.0} commands)", of(|s| s.requests)[1] * f64::from(load.commands))
        } else {
            String::new()
        };
        text.push_str(&format!(
            "| {} | {connections} | {:.0}{commands} | {:.2} ({:.2} to {:.2}) | {:.2} | {:.2} | {:.1} | {:.0} µs | {:.0}, {:.2}, {:.2} |\n",
            load.name,
            of(|s| s.requests)[1],
            ratio[1], ratio[0], ratio[2],
            of(|s| s.p50_ms)[1],
            of(|s| s.p99_ms)[1],
            of(|s| s.p99_ms / s.p50_ms)[1],
            of(|s| s.cpu_us)[1],
            of(|s| s.yardstick)[1],
            of(|s| s.yardstick_p50_ms)[1],
            of(|s| s.yardstick_p99_ms)[1],
        ));
    }
    let points: Vec<String> = memory
        .iter()
        .step_by((memory.len() / 6).max(1))
        .map(|(count, kib)| format!("| {count} | {:.1} |", *kib as f64 / 1024.0))
        .collect();
    text.push_str(&format!(
        "\nResident memory of the redis gateway, after the load above and as many GETs more:\n\n\
         | GETs | MiB |\n|---|---|\n{}\n",
        points.join("\n")
    ));
    text
}

/// Returns every sample as JSON.
pub fn raw(rows: &[(&Load, u32, Vec<Sample>)], memory: &[(u64, u64)]) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|(load, connections, samples)| {
            let samples: Vec<Value> = samples
                .iter()
                .map(|s| {
                    json!({
                        "requests_per_second": s.requests, "p50_ms": s.p50_ms, "p99_ms": s.p99_ms,
                        "cpu_us": s.cpu_us, "redis_benchmark_requests_per_second": s.yardstick,
                        "redis_benchmark_p50_ms": s.yardstick_p50_ms,
                        "redis_benchmark_p99_ms": s.yardstick_p99_ms,
                    })
                })
                .collect();
            json!({ "request": load.name, "connections": connections, "rounds": samples })
        })
        .collect();
    json!({ "rows": rows, "memory_kib_after_requests": memory })
}
