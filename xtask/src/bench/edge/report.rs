//! Formats the results as tables.

use super::cells::{CONNECTIONS, HOT, ROTATING, cells};
use super::found::{Distance, Found, NearLimit};
use super::goals::{Bound, Goal};
use super::near_limit::{QUOTA, WINDOW_SECONDS};
use crate::bench::measure::spread;
use std::fmt::Write as _;

pub fn text(found: &Found, goals: &[Goal]) -> String {
    let mut text = String::new();
    goals_table(goals, &mut text);
    if !found.speed.is_empty() {
        speed(found, &mut text);
    }
    if !found.distance.is_empty() {
        distance(found, &mut text);
    }
    for (name, times) in &found.start {
        let [low, middle, high] = spread(times.clone());
        let line =
            format!("Start to first answer, {name}: {middle:.0} ms ({low:.0} to {high:.0}).");
        let _ = writeln!(text, "\n{line}");
    }
    if !found.trips.is_empty() {
        text.push_str(
            "\nTrips and commands, with the store 40 ms away for leases:\n\n| | trips to the store a request | billed commands a request | calls of the upstream | requests/s |\n\
             |---|---|---|---|---|\n",
        );
        for trips in &found.trips {
            let _ = writeln!(
                text,
                "| {} | {:.3} | {:.2} | {:.2} | {:.0} |",
                trips.name, trips.store, trips.commands, trips.upstream, trips.requests_per_second
            );
        }
    }
    if !found.near_limit.is_empty() {
        text.push_str(&near_limit(&found.near_limit));
    }
    if !found.memory.is_empty() {
        text.push_str("\nResident memory, MiB, with a new token in each request:\n\n");
        text.push_str("| | after the start | a quarter | half | three quarters | all |\n");
        text.push_str("|---|---|---|---|---|---|\n");
        for (name, seen) in &found.memory {
            let points: Vec<String> = seen
                .iter()
                .map(|(count, kib)| format!("{:.0} ({count})", *kib as f64 / 1024.0))
                .collect();
            let _ = writeln!(text, "| {name} | {} |", points.join(" | "));
        }
    }
    if !found.growth.is_empty() {
        text.push_str("\n| CPU of a strict request, of the usual | |\n|---|---|\n");
        for (what, many, ratio) in &found.growth {
            let _ = writeln!(text, "| {many} {what} | {ratio:.2} |");
        }
    }
    if let Some(large) = &found.large_policy {
        let start = spread(large.start_ms.clone());
        let shipped = spread(large.shipped_start_ms.clone());
        let cpu = spread(large.cpu_ratio.clone());
        let _ = writeln!(
            text,
            "\nA policy of 1,000 routes and 200 limits, next to the shipped one: {:.0} ms ({:.0} to {:.0}) to the first \
             answer, {:.0} ms ({:.0} to {:.0}) with the shipped one. A strict request takes {:.2} ({:.2} to {:.2}) \
             times the CPU.",
            start[1],
            start[0],
            start[2],
            shipped[1],
            shipped[0],
            shipped[2],
            cpu[1],
            cpu[0],
            cpu[2],
        );
    }
    if let Some((requests, queries, refresh)) = found.database {
        let _ = writeln!(
            text,
            "\nThe database (Postgres) ran {queries} queries while {requests} requests passed, those included by which the \
             auth looks after its outbox; a refresh takes {refresh:.1}."
        );
    }
    text
}

fn goals_table(goals: &[Goal], text: &mut String) {
    text.push_str("| measure | goal | measured | verdict |\n|---|---|---|---|\n");
    for goal in goals {
        let bound = match goal.bound {
            Bound::AtLeast(least) => format!("≥ {least}"),
            Bound::AtMost(most) => format!("≤ {most}"),
            Bound::Exactly(number) => format!("{number}"),
            Bound::Open => "none".to_owned(),
        };
        let measured = match goal.value {
            Some((value, Some([low, high]))) => format!("{value:.2} ({low:.2} to {high:.2})"),
            Some((value, None)) if value >= 10.0 => format!("{value:.0}"),
            Some((value, None)) => format!("{value:.3}"),
            None => "not measured".to_owned(),
        };
        let verdict = match goal.holds() {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "",
        };
        let _ = writeln!(text, "| {} | {bound} | {measured} | {verdict} |", goal.measure);
    }
}

fn speed(found: &Found, text: &mut String) {
    let _ = writeln!(
        text,
        "\nMedians of {} rounds of {} s with {CONNECTIONS} connections, in brackets the lowest and the highest; {ROTATING} tokens \
         in turn, {HOT} where they are hot (bounded and pass). Before each round of leased, every token is sent twice, unmeasured.\n",
        found.rounds, found.seconds
    );
    text.push_str("| | requests/s | p50 ms | p99 ms | CPU of workerd a request, µs |\n|---|---|---|---|---|\n");
    for cell in cells(false) {
        let Some(samples) = found.speed.get(cell.name) else {
            continue;
        };
        let of = |f: fn(&super::Sample) -> f64| spread(samples.iter().map(f).collect());
        let (rate, cpu) = (of(|s| s.load.requests_per_second), of(|s| s.cpu_us));
        let _ = writeln!(
            text,
            "| {} | {:.0} ({:.0} to {:.0}) | {:.1} | {:.1} | {:.0} ({:.0} to {:.0}) |",
            cell.name,
            rate[1],
            rate[0],
            rate[2],
            of(|s| s.load.p50_ms)[1],
            of(|s| s.load.p99_ms)[1],
            cpu[1],
            cpu[0],
            cpu[2],
        );
    }
    if let Some([low, middle, high]) = found.ratio("pass again", "pass", |s| s.cpu_us) {
        let _ = writeln!(
            text,
            "\nThe machine's noise: pass beside itself, twice in each round, CPU {middle:.2} ({low:.2} to {high:.2})."
        );
    }
}

fn distance(found: &Found, text: &mut String) {
    text.push_str(
        "\n| p50 and p99 in ms, the store so far away | 0 ms | 10 ms | 40 ms |\n|---|---|---|---|\n",
    );
    let mut names: Vec<&str> = Vec::new();
    for (name, ..) in &found.distance {
        if !names.contains(name) {
            names.push(name);
        }
    }
    for name in names {
        let points: Vec<String> = found
            .distance
            .iter()
            .filter(|(of, ..)| *of == name)
            .map(|(_, _, p50_ms, p99_ms, _)| format!("{p50_ms:.1}, {p99_ms:.1}"))
            .collect();
        let _ = writeln!(text, "| {name} | {} |", points.join(" | "));
    }
    let rate = |(name, ms, .., rate): &Distance| format!("{rate:.0} at {ms} ms ({name})");
    let leased = found.distance.iter().filter(|(name, ..)| name.contains("leased"));
    let _ = writeln!(
        text,
        "\nRequests per second of leased, by as many connections as for all others:\n\n{}",
        leased.map(rate).map(|rate| format!("- {rate}")).collect::<Vec<_>>().join("\n")
    );
}

/// Returns the table of one caller near its limit.
pub fn near_limit(rows: &[NearLimit]) -> String {
    let mut text = format!(
        "\nOne caller with a quota of {QUOTA} requests in {WINDOW_SECONDS} s, at full demand after its burst; for each \
         admitted request:\n\n\
         | | isolates | requests/s | admitted/s | unspent | reads | writes | POSTs |\n|---|---|---|---|---|---|---|---|\n"
    );
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} | {:.1} | {:.1}% | {:.2} | {:.2} | {:.2} |",
            row.name,
            row.isolates,
            row.requests_per_second,
            row.admitted_per_second,
            row.unspent * 100.0,
            row.reads,
            row.writes,
            row.posts
        );
    }
    text
}
