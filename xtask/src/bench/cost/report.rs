//! Formats the results as tables.

use super::bill::{Bill, Row};
use crate::bench::edge::report::near_limit;
use std::fmt::Write as _;

pub fn text(bill: &Bill) -> String {
    let mut text = String::new();
    let prices = &bill.prices;
    if bill.quick {
        text.push_str("These are the figures of a quick run.\n\n");
    }
    let _ = writeln!(
        text,
        "{} tokens, each with a quota that is never reached, drawn by Zipf with the exponent {}; the store 10 ms away. Each \
         row was counted for {} s after a warm-up of {} s. The isolates are loaded at once, with the requests per second of all together. A \
         command costs ${} per 100,000, {} regions of a global store bill each write, a million requests cost ${}, and a \
         million ms of CPU ${}.\n",
        bill.tokens,
        bill.zipf_exponent,
        bill.seconds,
        bill.warm_up_seconds,
        prices.hundred_thousand_commands,
        prices.regions,
        prices.million_requests,
        prices.million_cpu_ms,
    );
    text.push_str(
        "| | isolates | requests/s | reads a request | writes a request | billed commands a request | POSTs a request \
         | a million requests | the same, global store |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &bill.rows {
        write_row(row, &mut text);
    }
    text.push_str(&near_limit(&bill.near_limit));
    text
}

fn write_row(row: &Row, text: &mut String) {
    let _ = writeln!(
        text,
        "| {} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {:.3} | ${:.2} | ${:.2} |",
        row.name,
        row.isolates,
        row.requests_per_second,
        row.reads,
        row.writes,
        row.reads + row.writes,
        row.posts,
        row.million,
        row.million_global
    );
}
