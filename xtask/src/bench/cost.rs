//! Measures what a request costs at the store: its commands, as they are billed, and its POSTs. The
//! tokens are used unevenly, over several isolates.

mod bill;
mod report;

use super::edge::cells::{
    CONNECTIONS, Contender, EXACT, LEASED, LEASED_BY_DEFAULT, Plan, ROTATING, STRICT,
};
use super::edge::load::{Order, Traffic, Wrk, ZIPF_COUNT, ZIPF_EXPONENT};
use super::edge::near_limit;
use super::edge::scene::{Running, Scene};
use super::measure::{cpu_us, joined, put};
use super::pictures;
use crate::costs::{RequestCost, UnitPrices};
use crate::process::{self, write_atomically};
use crate::tools::{self, Extent};
use anyhow::{Context as _, Result};
use bill::{Bill, Row};
use clap::Args;
use serde_json::json;
use std::time::{Duration, Instant};

/// Prices other than those of docs/costs.json.
#[derive(Args)]
pub struct Prices {
    /// `cost`: the price of 100,000 commands of the store
    #[arg(long)]
    command_price: Option<f64>,
    /// `cost`: the price of a million requests to the Worker
    #[arg(long)]
    request_price: Option<f64>,
    /// `cost`: the price of a million milliseconds of the Worker's CPU
    #[arg(long)]
    cpu_price: Option<f64>,
    /// `cost`: the regions of a global store
    #[arg(long)]
    regions: Option<f64>,
}

pub fn run(prices: &Prices, quick: bool, write: bool) -> Result<()> {
    let tools = tools::ensure(Extent::BenchEdge)?;
    let scene = Scene::set(&tools, ROTATING, None)?;
    let mut bill = Bill {
        quick,
        seconds: if quick { 6 } else { 20 },
        warm_up_seconds: if quick { 4 } else { 10 },
        tokens: ROTATING,
        zipf_exponent: ZIPF_EXPONENT,
        prices: prices.or_listed()?,
        rows: Vec::new(),
        near_limit: Vec::new(),
    };
    for (requests_per_second, isolates) in CELLS {
        for contender in CONTENDERS {
            let row = measure(&bill, &scene, contender, isolates, requests_per_second)?;
            eprintln!(
                "cost: {} over {isolates}: {:.2} commands a request",
                row.name,
                row.reads + row.writes
            );
            bill.rows.push(row);
        }
    }
    for isolates in NEAR_LIMIT_ISOLATES {
        for contender in [EXACT, LEASED, LEASED_BY_DEFAULT] {
            let seconds = if quick { 8 } else { 30 };
            bill.near_limit.push(near_limit::measure(&scene, contender, isolates, seconds)?);
        }
    }
    drop(scene);
    let text = report::text(&bill);
    println!("\n{text}");
    if write {
        put("docs/performance.md", "bill", &text)?;
        let raw = serde_json::to_string_pretty(&json!(bill))?;
        write_atomically(&crate::at(pictures::BILL), &raw)?;
        pictures::draw()?;
    }
    Ok(())
}

impl Prices {
    /// Returns these prices, and those of docs/costs.json where there are none.
    fn or_listed(&self) -> Result<UnitPrices> {
        let listed = UnitPrices::read()?;
        Ok(UnitPrices {
            hundred_thousand_commands: self
                .command_price
                .unwrap_or(listed.hundred_thousand_commands),
            million_requests: self.request_price.unwrap_or(listed.million_requests),
            million_cpu_ms: self.cpu_price.unwrap_or(listed.million_cpu_ms),
            regions: self.regions.unwrap_or(listed.regions),
        })
    }
}

/// Counts what requests to a contender cost, after a warm-up.
fn measure(
    bill: &Bill,
    scene: &Scene<'_>,
    contender: Contender,
    isolates: usize,
    requests_per_second: u32,
) -> Result<Row> {
    let vars = json!({});
    // A store in the same region. If it were nearer, fewer questions would share a POST.
    let (_, store) = *scene.slow.first().context("no distant store")?;
    let running: Vec<Running> =
        (0..isolates).map(|_| scene.start(contender, store, &vars)).collect::<Result<_>>()?;
    let pause_ms = CONNECTIONS * 1000 / requests_per_second;
    load(scene, &running, pause_ms, bill.warm_up_seconds, 0)?;
    // What the warm-up left in progress must not be counted, and what the load leaves must be.
    std::thread::sleep(SETTLING);
    let cpu = || -> Result<f64> {
        let each = running.iter().map(|one| cpu_us(one.server.pid()));
        Ok(each.collect::<Result<Vec<f64>>>()?.iter().sum())
    };
    let (begun, before, cpu_before) = (Instant::now(), scene.counts()?, cpu()?);
    load(scene, &running, pause_ms, bill.seconds, ZIPF_COUNT / 2)?;
    let elapsed = begun.elapsed();
    std::thread::sleep(SETTLING);
    let (counted, cpu_us) = (scene.counts()? - before, cpu()? - cpu_before);
    let requests = counted.upstream as f64;
    let cost = RequestCost {
        reads: counted.commands.reads as f64 / requests,
        writes: counted.commands.writes as f64 / requests,
        cpu_ms: cpu_us / requests / 1e3,
    };
    Ok(Row {
        name: contender.name(),
        isolates,
        requests: counted.upstream,
        requests_per_second: requests / elapsed.as_secs_f64(),
        reads: cost.reads,
        writes: cost.writes,
        posts: counted.posts as f64 / requests,
        cpu_ms: cost.cpu_ms,
        million: bill.prices.of_million(cost),
        million_global: bill.prices.of_million_global(cost),
    })
}

/// Loads all isolates at once. They share the connections, and each begins elsewhere in the order
/// of the tokens.
fn load(
    scene: &Scene<'_>,
    running: &[Running],
    pause_ms: u32,
    seconds: u32,
    skip: u32,
) -> Result<()> {
    process::check_stop()?;
    let isolates = u32::try_from(running.len())?;
    std::thread::scope(|scope| {
        let loads: Vec<_> = (0..)
            .zip(running)
            .map(|(place, one)| {
                let wrk = Wrk {
                    order: Order::Zipf,
                    pause_ms,
                    skip: skip + place * (ZIPF_COUNT / 2 / isolates),
                    ..scene.wrk(CONNECTIONS / isolates, Traffic::Good, ROTATING)
                };
                scope.spawn(move || wrk.send(one.port, seconds))
            })
            .collect();
        loads.into_iter().try_for_each(|load| joined(load).map(|_| ()))
    })
}

/// The requests per second of all isolates, and their number.
const CELLS: [(u32, usize); 4] = [(1000, 1), (1000, 4), (1000, 16), (100, 4)];
const CONTENDERS: [Contender; 6] = [
    STRICT,
    EXACT,
    LEASED,
    LEASED_BY_DEFAULT,
    Contender::Portcullis(Plan::Bounded { seconds: 5 }),
    Contender::Ref,
];
const NEAR_LIMIT_ISOLATES: [usize; 2] = [1, 4];
const SETTLING: Duration = Duration::from_millis(300);
