//! What a month costs, computed from docs/costs.json into docs/how-to/go-live.md.

use crate::bench::measure::put;
use crate::workspace::at;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::fs;

/// Options of `cargo xtask costs`.
#[derive(Args)]
pub struct Options {
    /// Write the table into docs/how-to/go-live.md.
    #[arg(long)]
    write: bool,
}

/// The prices that depend on the number of requests.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct UnitPrices {
    /// The price of 100,000 commands of the store.
    pub hundred_thousand_commands: f64,
    /// The price of a million requests to the Worker.
    pub million_requests: f64,
    /// The price of a million milliseconds of the Worker's CPU.
    pub million_cpu_ms: f64,
    /// The regions of a global store. Each write is billed once for each of them.
    pub regions: f64,
}

/// What a request uses, on average.
#[derive(Clone, Copy, Debug)]
pub struct RequestCost {
    pub reads: f64,
    pub writes: f64,
    pub cpu_ms: f64,
}

impl UnitPrices {
    /// Returns the prices of docs/costs.json.
    pub fn read() -> Result<Self> {
        let prices = read()?;
        Ok(Self {
            hundred_thousand_commands: prices.upstash.hundred_thousand_commands,
            million_requests: prices.workers.million_requests,
            million_cpu_ms: prices.workers.million_cpu_ms,
            regions: prices.upstash.regions,
        })
    }

    /// Returns the price of a million requests, with a store in one region.
    pub fn of_million(&self, cost: RequestCost) -> f64 {
        let commands = (cost.reads + cost.writes) * MILLION / 100_000.0;
        commands * self.hundred_thousand_commands
            + self.million_requests
            + cost.cpu_ms * self.million_cpu_ms
    }

    /// Returns the price of a million requests, with a global store.
    pub fn of_million_global(&self, cost: RequestCost) -> f64 {
        self.of_million(RequestCost { writes: cost.writes * self.regions, ..cost })
    }
}

/// Prices and what a request uses. The members that explain a number are not read.
#[derive(Deserialize)]
struct Prices {
    read: String,
    requests_a_month: Vec<f64>,
    request: RequestUse,
    workers: Workers,
    logs: Logs,
    upstash: Upstash,
    own_redis: OwnRedis,
}

#[derive(Deserialize)]
struct RequestUse {
    store_commands: f64,
    cpu_ms: f64,
    log_bytes: f64,
}

#[derive(Deserialize)]
struct Workers {
    month: f64,
    requests_included: f64,
    million_requests: f64,
    cpu_ms_included: f64,
    million_cpu_ms: f64,
}

#[derive(Deserialize)]
struct Logs {
    gb_included: f64,
    gb: f64,
    gb_months_included: f64,
    gb_month: f64,
    days_kept: f64,
}

#[derive(Deserialize)]
struct Upstash {
    hundred_thousand_commands: f64,
    regions: f64,
}

#[derive(Deserialize)]
struct OwnRedis {
    month: f64,
}

/// Prints the table, or writes it into the page.
pub fn run(options: &Options) -> Result<()> {
    let table = table(&read()?);
    println!("{table}");
    if options.write {
        put(PAGE, MARK, &table)?;
    }
    Ok(())
}

/// Returns an error if the page does not have the table that the prices give.
pub fn check() -> Result<()> {
    let page = fs::read_to_string(at(PAGE)).context(PAGE)?;
    if !page.contains(&table(&read()?)) {
        bail!("{PAGE} is older than {DATA}; run `cargo xtask costs --write`");
    }
    Ok(())
}

fn read() -> Result<Prices> {
    let text = fs::read_to_string(at(DATA)).context(DATA)?;
    serde_json::from_str(&text).context(DATA)
}

/// Returns the dollars of a month for each number of requests, as a table.
fn table(prices: &Prices) -> String {
    let row = |name: &str, dollars: &dyn Fn(f64) -> f64| {
        let cells =
            prices.requests_a_month.iter().map(|requests| format!("${:.2}", dollars(*requests)));
        format!("| {name} | {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    let columns =
        prices.requests_a_month.iter().map(|requests| format!("{} million", requests / MILLION));
    let columns: Vec<String> = columns.collect();
    let cloudflare = |requests| workers(prices, requests) + logs(prices, requests);
    [
        format!("| USD a month, prices of {} | {} |", prices.read, columns.join(" | ")),
        format!("|---|{}", "---|".repeat(columns.len())),
        row("Cloudflare: plan, requests and CPU", &|requests| workers(prices, requests)),
        row("Cloudflare: logs, unsampled", &|requests| logs(prices, requests)),
        row("Upstash, pay as you go", &|requests| upstash(prices, requests)),
        row("**in all, with Upstash**", &|requests| {
            cloudflare(requests) + upstash(prices, requests)
        }),
        row("a server for your own Redis and the redis gateway", &|_| prices.own_redis.month),
        row("**in all, with your own Redis**", &|requests| {
            cloudflare(requests) + prices.own_redis.month
        }),
    ]
    .join("\n")
}

fn workers(prices: &Prices, requests: f64) -> f64 {
    let workers = &prices.workers;
    let cpu_ms = requests * prices.request.cpu_ms;
    workers.month
        + beyond(requests, workers.requests_included) / MILLION * workers.million_requests
        + beyond(cpu_ms, workers.cpu_ms_included) / MILLION * workers.million_cpu_ms
}

fn logs(prices: &Prices, requests: f64) -> f64 {
    let logs = &prices.logs;
    let gb = requests * prices.request.log_bytes / 1e9;
    let gb_months = gb * logs.days_kept / DAYS_A_MONTH;
    beyond(gb, logs.gb_included) * logs.gb
        + beyond(gb_months, logs.gb_months_included) * logs.gb_month
}

fn upstash(prices: &Prices, requests: f64) -> f64 {
    requests * prices.request.store_commands / 100_000.0 * prices.upstash.hundred_thousand_commands
}

fn beyond(used: f64, included: f64) -> f64 {
    (used - included).max(0.0)
}

const DATA: &str = "docs/costs.json";
const PAGE: &str = "docs/how-to/go-live.md";
const MARK: &str = "costs";
const MILLION: f64 = 1e6;
const DAYS_A_MONTH: f64 = 30.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Cloudflare's own example: 15 million requests of 7 ms cost $8.00.
    #[test]
    fn workers_cost_matches_the_price_lists_example() {
        let mut prices = read().unwrap();
        prices.request.cpu_ms = 7.0;
        assert!((workers(&prices, 15e6) - 8.0).abs() < 0.001);
        assert!((workers(&prices, 100e6) - 45.4).abs() < 0.001);
    }

    #[test]
    fn logs_cost_matches_the_price_lists_example() {
        // 75 GB cost $6.25, and what is kept of them for 7 days is 17.5 GB-months.
        let mut prices = read().unwrap();
        prices.request.log_bytes = 750.0;
        assert!((logs(&prices, 100e6) - 6.25 - 0.55).abs() < 0.001);
    }

    #[test]
    fn million_requests_cost_their_commands_their_number_and_their_cpu() {
        let prices = UnitPrices {
            hundred_thousand_commands: 0.2,
            million_requests: 0.3,
            million_cpu_ms: 0.02,
            regions: 3.0,
        };
        let cost = RequestCost { reads: 2.0, writes: 2.0, cpu_ms: 0.5 };
        assert!((prices.of_million(cost) - (8.0 + 0.3 + 0.01)).abs() < 1e-9);
        // Two reads and six writes.
        assert!((prices.of_million_global(cost) - (16.0 + 0.3 + 0.01)).abs() < 1e-9);
    }

    #[test]
    fn store_commands_are_those_that_were_measured() {
        let bill = fs::read_to_string(at("docs/bill.json")).unwrap();
        let bill: serde_json::Value = serde_json::from_str(&bill).unwrap();
        let rows = bill["rows"].as_array().unwrap();
        let strict = rows.iter().find(|row| row["name"] == "portcullis, strict").unwrap();
        let measured = strict["reads"].as_f64().unwrap() + strict["writes"].as_f64().unwrap();
        let stated = read().unwrap().request.store_commands;
        assert!((measured - stated).abs() < 0.1, "measured {measured}, but {DATA} has {stated}");
    }

    #[test]
    fn page_has_the_current_table() {
        check().unwrap();
    }
}
