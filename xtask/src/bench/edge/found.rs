//! The results of a run.

use super::load::Load;
use crate::at;
use crate::bench::measure::spread;
use crate::process::write_atomically;
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;

/// One round of a cell.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub struct Sample {
    #[serde(flatten)]
    pub load: Load,
    pub cpu_us: f64,
}

/// A contender, the distance of the store, its p50 and p99, all in milliseconds, and its requests
/// per second.
pub type Distance = (&'static str, u32, f64, f64, f64);

/// What a request causes elsewhere.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub struct Trips {
    pub name: &'static str,
    /// The requests to the store.
    pub store: f64,
    pub upstream: f64,
    /// The store's commands, as billed.
    pub commands: f64,
    pub requests_per_second: f64,
}

/// One caller that requests more than its quota.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub struct NearLimit {
    pub name: &'static str,
    pub isolates: usize,
    pub requests_per_second: f64,
    pub admitted_per_second: f64,
    /// The share of what the quota supplies that no request used.
    pub unspent: f64,
    /// The requests to the store, for each admitted request.
    pub posts: f64,
    /// The store's commands that only read, for each admitted request.
    pub reads: f64,
    /// All other commands, for each admitted request.
    pub writes: f64,
}

/// The cost of a policy of 1,000 routes and 200 limits.
#[derive(Default, Deserialize, Serialize)]
pub struct LargePolicy {
    /// The milliseconds from each start to the first response, with the shipped policy.
    pub shipped_start_ms: Vec<f64>,
    /// The same with the large policy.
    pub start_ms: Vec<f64>,
    /// The CPU of a strict request as a ratio to that with the shipped policy.
    pub cpu_ratio: Vec<f64>,
}

/// The results of all measurements.
#[derive(Default, Deserialize, Serialize)]
pub struct Found {
    pub rounds: u32,
    pub seconds: u32,
    /// The rounds of each cell.
    #[serde(borrow)]
    pub speed: BTreeMap<&'static str, Vec<Sample>>,
    pub distance: Vec<Distance>,
    pub trips: Vec<Trips>,
    /// One caller near its limit, over several isolates.
    pub near_limit: Vec<NearLimit>,
    /// The milliseconds from each start to the first response.
    #[serde(borrow)]
    pub start: BTreeMap<&'static str, Vec<f64>>,
    /// The resident KiB after each number of requests.
    #[serde(borrow)]
    pub memory: BTreeMap<&'static str, Vec<(u64, u64)>>,
    /// The growing thing, its number, and the CPU as a ratio to that with the usual number.
    #[serde(borrow)]
    pub growth: Vec<(&'static str, u32, f64)>,
    /// A policy of 1,000 routes and 200 limits.
    pub large_policy: Option<LargePolicy>,
    /// The requests, the statements of the database meanwhile, and the statements of one refresh.
    pub database: Option<(u64, u64, f64)>,
    /// The Worker's gzipped size in bytes.
    pub gzip_bytes: usize,
}

impl Found {
    /// Keeps the results so far, so that a run that fails later can go on with them.
    pub fn save(&self) -> Result<()> {
        write_atomically(&at(SAVED), &serde_json::to_string_pretty(self)?)
    }

    /// Reads the results of a run that failed. They must be of this Worker, and as thorough.
    pub fn resume(rounds: u32, seconds: u32, gzip_bytes: usize) -> Result<Self> {
        let text = fs::read_to_string(at(SAVED)).with_context(|| format!("no run: {SAVED}"))?;
        // The names in the results live as long as the program.
        let found: Self = serde_json::from_str(text.leak())?;
        let is_same =
            (found.rounds, found.seconds, found.gzip_bytes) == (rounds, seconds, gzip_bytes);
        ensure!(is_same, "{SAVED} is of another Worker, or of a run with other rounds");
        Ok(found)
    }

    /// Returns the lowest, the median and the highest ratio of all rounds.
    pub fn ratio(&self, one: &str, other: &str, of: fn(&Sample) -> f64) -> Option<[f64; 3]> {
        let (one, other) = (self.speed.get(one)?, self.speed.get(other)?);
        Some(spread(one.iter().zip(other).map(|(a, b)| of(a) / of(b)).collect()))
    }
}

/// The results of the run that is measured, or that failed.
const SAVED: &str = "target/bench/edge.json";
