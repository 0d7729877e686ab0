//! Measures the Worker and its peers, in one run on one machine: the cost of a request, the effect
//! of a distant store, and the growth of memory. Compares each result with its goal.

pub mod cells;
mod database;
pub mod found;
mod goals;
pub mod load;
pub mod near_limit;
mod parts;
pub mod report;
pub mod scene;
pub mod store;
mod variables;

use super::measure::put;
use super::pictures;
use crate::at;
use crate::process::{self, write_atomically};
use crate::tools::{self, Extent};
use crate::worker;
use anyhow::{Context as _, Result, ensure};
use cells::{BESIDE, CONNECTIONS, Contender, EXACT, LEASED, LEASED_BY_DEFAULT, cells};
use clap::ValueEnum;
use found::{Found, Sample};
use scene::{Running, Scene};
use serde_json::json;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;

/// A part that can be measured alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Part {
    /// Queries of the database in 100,000 requests.
    Database,
    /// The store 0, 10 and 40 ms away.
    Distance,
    /// More tokens, routes, keys and limits.
    Growth,
    /// A policy of 1,000 routes and 200 limits, next to the shipped one.
    LargePolicy,
    /// Resident memory in 200,000 requests.
    Memory,
    /// Requests per second, and CPU per request.
    Speed,
    /// How much of a quota is used by one caller over four isolates.
    NearLimit,
    /// Time from the start of a process to its first response.
    Start,
    /// Calls to store and upstream.
    Trips,
}

/// What to measure of the Worker, and how thoroughly.
pub struct Options {
    pub quick: bool,
    pub write: bool,
    /// Whether to go on with the results of a run that failed.
    pub resume: bool,
    pub only: Option<Part>,
    /// The parts that are left out.
    pub skip: Vec<Part>,
    /// The folder of another build.
    pub beside: Option<PathBuf>,
}

pub fn run(options: &Options) -> Result<()> {
    let Options { quick, write, resume, only, ref skip, ref beside } = *options;
    ensure!(!write || (!quick && only.is_none()), "--write wants all of it, and not in haste");
    let tools = tools::ensure(Extent::BenchEdge)?;
    let wants = |part| only.is_none_or(|wanted| wanted == part) && !skip.contains(&part);
    let tokens = match (quick, wants(Part::Memory) || wants(Part::Growth)) {
        (false, true) => 200_000,
        (true, true) => 20_000,
        (_, false) => 2000,
    };
    let (rounds, seconds) = if quick { (3, 1) } else { (6, 3) };
    worker::build(&tools)?;
    let gzip_bytes = worker::gzip_bytes()?;
    let mut found = match resume {
        true => Found::resume(rounds, seconds, gzip_bytes)?,
        false => Found { rounds, seconds, gzip_bytes, ..Found::default() },
    };
    // The database is first, because its logins may fail on a busy machine.
    let (users, requests) = if quick { (50, 10_000) } else { (1000, 100_000) };
    if wants(Part::Database) && found.database.is_none() {
        found.database = Some(database::measure(users, requests)?);
        found.save()?;
    }
    let scene = Scene::set(&tools, tokens, beside.clone())?;
    let (speed_missing, trips_missing) = (found.speed.is_empty(), found.trips.is_empty());
    if (wants(Part::Speed) && speed_missing) || (wants(Part::Trips) && trips_missing) {
        let running = start_all(&scene)?;
        if wants(Part::Speed) && speed_missing {
            speed(&scene, &running, &mut found)?;
        }
        if wants(Part::Trips) && trips_missing {
            found.trips = parts::trips(&scene, &running)?;
        }
        found.save()?;
    }
    if wants(Part::Distance) && found.distance.is_empty() {
        found.distance = parts::distance(&scene, seconds)?;
        found.save()?;
    }
    if wants(Part::NearLimit) && found.near_limit.is_empty() {
        for contender in [EXACT, LEASED, LEASED_BY_DEFAULT] {
            let seconds = if quick { 10 } else { 60 };
            found.near_limit.push(near_limit::measure(&scene, contender, ISOLATES, seconds)?);
        }
        found.save()?;
    }
    if wants(Part::Start) && found.start.is_empty() {
        found.start = parts::start(&scene, if quick { 3 } else { 15 })?;
        found.save()?;
    }
    if wants(Part::Growth) && found.growth.is_empty() {
        found.growth = parts::growth(&scene, if quick { 1 } else { 2 })?;
        found.save()?;
    }
    if wants(Part::LargePolicy) && found.large_policy.is_none() {
        let (starts, rounds) = if quick { (3, 2) } else { (15, 8) };
        found.large_policy = Some(parts::large_policy(&scene, starts, rounds)?);
        found.save()?;
    }
    if wants(Part::Memory) && found.memory.is_empty() {
        found.memory = parts::memory(&scene, tokens.into())?;
    }
    drop(scene);
    found.save()?;
    let text = report::text(&found, &goals::of(&found));
    println!("\n{text}");
    if beside.is_some() && wants(Part::Speed) {
        println!("{}", comparison(&found));
    }
    if write {
        let raw = serde_json::to_string_pretty(&found)?;
        put("docs/performance.md", "edge", &text)?;
        write_atomically(&at("docs/performance.json"), &raw)?;
        pictures::draw()?;
    }
    Ok(())
}

fn start_all(scene: &Scene<'_>) -> Result<BTreeMap<Contender, Running>> {
    let mut running = BTreeMap::new();
    for cell in cells(scene.beside.is_some()) {
        if let Entry::Vacant(place) = running.entry(cell.contender) {
            place.insert(scene.start(cell.contender, scene.gateway, &json!({}))?);
        }
    }
    Ok(running)
}

/// Runs rounds with all cells in turn. Every other round has the reverse order, so that other load
/// on the machine affects all cells equally.
fn speed(
    scene: &Scene<'_>,
    running: &BTreeMap<Contender, Running>,
    found: &mut Found,
) -> Result<()> {
    // The first round is a warm-up.
    for round in 0..=found.rounds {
        let mut order = cells(scene.beside.is_some());
        if round % 2 == 1 {
            order.reverse();
        }
        for cell in order {
            process::check_stop()?;
            let wrk = scene.wrk(CONNECTIONS, cell.traffic, cell.tokens);
            let contender = running.get(&cell.contender).context("it was not started")?;
            if cell.is_primed() {
                scene.prime(contender.port, cell.tokens)?;
            }
            let (load, cpu_us) = scene.load(contender, &wrk, found.seconds)?;
            if round > 0 {
                found.speed.entry(cell.name).or_default().push(Sample { load, cpu_us });
            }
        }
        eprintln!("speed: round {round} of {}", found.rounds);
    }
    Ok(())
}

/// Compares this build with the other one: the median ratio of the rounds, and the lowest and the
/// highest.
fn comparison(found: &Found) -> String {
    let mut text =
        "| this build, of the other one | CPU a request | requests a second |\n|---|---|---|\n"
            .to_owned();
    for (other, own) in BESIDE {
        let of = |of: fn(&Sample) -> f64| match found.ratio(own, other.name, of) {
            Some([low, median, high]) => format!("{median:.3} ({low:.3} to {high:.3})"),
            None => "not measured".to_owned(),
        };
        let (cpu, requests) = (of(|s| s.cpu_us), of(|s| s.load.requests_per_second));
        text += &format!("| {own} | {cpu} | {requests} |\n");
    }
    text
}

/// The isolates that share a quota.
const ISOLATES: usize = 4;
