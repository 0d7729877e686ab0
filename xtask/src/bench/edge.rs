//! The Worker beside its peers, in one run on one machine: what a request costs, how far the store may be, what it all
//! grows to; and, line by line, whether that is good enough.

mod database;
mod goals;
mod load;
mod parts;
mod plot;
mod report;
mod scene;

use super::{put, spread};
use crate::at;
use crate::process::{self, write_atomically};
use crate::tools::{self, Extent};
use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use load::{Load, Traffic};
use scene::{Contender, Running, Scene};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;

/// What can be measured alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Part {
    /// Queries of the database in 100,000 requests.
    Database,
    /// The store 0, 10 and 40 ms away.
    Distance,
    /// More tokens, routes, keys and limits.
    Growth,
    /// Resident memory in 200,000 requests.
    Memory,
    /// Requests per second and CPU a request.
    Speed,
    /// From the start of a process to its first answer.
    Start,
    /// Calls of store and upstream.
    Trips,
}

/// A contender under one kind of load.
#[derive(Clone, Copy)]
pub struct Cell {
    pub name: &'static str,
    pub contender: Contender,
    pub traffic: Traffic,
    pub tokens: u32,
}

pub const STRICT: Contender = Contender::Portcullis { seconds: 0 };
pub const BOUNDED: Contender = Contender::Portcullis { seconds: 1 };

/// The order is that of a round.
pub const CELLS: [Cell; 11] = [
    cell("strict", STRICT, Traffic::Good, ROTATING),
    cell("ref", Contender::Ref, Traffic::Good, ROTATING),
    cell("jsopt strict", Contender::Jsopt { seconds: 0 }, Traffic::Good, ROTATING),
    cell("floor", Contender::Floor, Traffic::Good, ROTATING),
    cell("bounded", BOUNDED, Traffic::Good, HOT),
    cell("jsopt bounded", Contender::Jsopt { seconds: 1 }, Traffic::Good, HOT),
    cell("pass", Contender::Pass, Traffic::Good, HOT),
    cell("garbage", STRICT, Traffic::Garbage, ROTATING),
    cell("forged", STRICT, Traffic::Forged, ROTATING),
    cell("bare401", Contender::Bare401, Traffic::Garbage, ROTATING),
    cell("pass again", Contender::Pass, Traffic::Good, HOT),
];

const fn cell(name: &'static str, contender: Contender, traffic: Traffic, tokens: u32) -> Cell {
    Cell { name, contender, traffic, tokens }
}

/// One round of a cell.
#[derive(Clone, Copy, Serialize)]
pub struct Sample {
    #[serde(flatten)]
    pub load: Load,
    pub cpu_us: f64,
}

/// All that was measured.
#[derive(Default, Serialize)]
pub struct Found {
    pub rounds: u32,
    pub seconds: u32,
    /// The rounds of each cell.
    pub speed: BTreeMap<&'static str, Vec<Sample>>,
    /// p50 in milliseconds of a contender at a distance of the store.
    pub distance: Vec<(&'static str, u32, f64)>,
    /// Calls of the store and of the upstream a request.
    pub trips: Vec<(&'static str, f64, f64)>,
    /// Milliseconds from the start to the first answer, each time.
    pub start: BTreeMap<&'static str, Vec<f64>>,
    /// Requests and resident KiB.
    pub memory: BTreeMap<&'static str, Vec<(u64, u64)>>,
    /// What there is more of, how many, and the CPU as a ratio to that of the usual number.
    pub growth: Vec<(&'static str, u32, f64)>,
    /// Requests, statements of the database meanwhile, and statements of one refresh.
    pub database: Option<(u64, u64, f64)>,
    /// The Worker's bytes, gzipped.
    pub gzip_bytes: usize,
}

impl Found {
    /// The lowest, the median and the highest of the ratios of each round.
    pub fn ratio(&self, one: &str, other: &str, of: fn(&Sample) -> f64) -> Option<[f64; 3]> {
        let (one, other) = (self.speed.get(one)?, self.speed.get(other)?);
        Some(spread(one.iter().zip(other).map(|(a, b)| of(a) / of(b)).collect()))
    }
}

pub fn run(quick: bool, write: bool, only: Option<Part>) -> Result<()> {
    ensure!(!write || (!quick && only.is_none()), "--write wants all of it, and not in haste");
    let tools = tools::ensure(Extent::BenchEdge)?;
    let wants = |part| only.is_none_or(|wanted| wanted == part);
    let tokens = match (quick, wants(Part::Memory) || wants(Part::Growth)) {
        (false, true) => 200_000,
        (true, true) => 20_000,
        (_, false) => 2000,
    };
    let (rounds, seconds) = if quick { (3, 1) } else { (6, 3) };
    let mut found = Found { rounds, seconds, ..Found::default() };
    let scene = Scene::set(&tools, tokens)?;
    found.gzip_bytes = crate::worker::gzip_bytes()?;
    if wants(Part::Speed) || wants(Part::Trips) {
        let running = start_all(&scene)?;
        if wants(Part::Speed) {
            speed(&scene, &running, &mut found)?;
        }
        if wants(Part::Trips) {
            found.trips = parts::trips(&scene, &running)?;
        }
    }
    if wants(Part::Distance) {
        found.distance = parts::distance(&scene, seconds)?;
    }
    if wants(Part::Start) {
        found.start = parts::start(&scene, if quick { 3 } else { 15 })?;
    }
    if wants(Part::Growth) {
        found.growth = parts::growth(&scene, if quick { 1 } else { 2 })?;
    }
    if wants(Part::Memory) {
        found.memory = parts::memory(&scene, tokens.into())?;
    }
    drop(scene);
    let (users, requests) = if quick { (50, 10_000) } else { (1000, 100_000) };
    if wants(Part::Database) {
        found.database = Some(database::measure(users, requests)?);
    }
    let text = report::text(&found);
    println!("\n{text}");
    let raw = serde_json::to_string_pretty(&json!(found))?;
    fs::write(at("target/bench/edge.json"), &raw)?;
    if write {
        put("docs/performance.md", "edge", &text)?;
        write_atomically(&at("docs/performance.svg"), &plot::svg(&found))?;
        write_atomically(&at("docs/performance.json"), &raw)?;
    }
    Ok(())
}

fn start_all(scene: &Scene<'_>) -> Result<BTreeMap<Contender, Running>> {
    let mut running = BTreeMap::new();
    for cell in CELLS {
        if let Entry::Vacant(place) = running.entry(cell.contender) {
            place.insert(scene.start(cell.contender, scene.gateway, &json!({}))?);
        }
    }
    Ok(running)
}

/// Rounds with all cells in turn, in the reverse order each other time, so that what the machine does meanwhile falls on
/// all alike.
fn speed(
    scene: &Scene<'_>,
    running: &BTreeMap<Contender, Running>,
    found: &mut Found,
) -> Result<()> {
    // The first round is for warming up.
    for round in 0..=found.rounds {
        let mut order = CELLS;
        if round % 2 == 1 {
            order.reverse();
        }
        for cell in order {
            process::check_stop()?;
            let wrk = scene.wrk(CONNECTIONS, cell.traffic, cell.tokens);
            let contender = running.get(&cell.contender).context("it was not started")?;
            let (load, cpu_us) = scene.load(contender, &wrk, found.seconds)?;
            if round > 0 {
                found.speed.entry(cell.name).or_default().push(Sample { load, cpu_us });
            }
        }
        eprintln!("speed: round {round} of {}", found.rounds);
    }
    Ok(())
}

pub const CONNECTIONS: u32 = 32;
/// Different tokens in turn: more than are hot, fewer than are remembered.
pub const ROTATING: u32 = 1000;
/// So few that each comes many times a second.
pub const HOT: u32 = 32;
