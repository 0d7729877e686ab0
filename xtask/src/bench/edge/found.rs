//! The results of a run.

use super::load::Load;
use crate::bench::measure::spread;
use serde::Serialize;
use std::collections::BTreeMap;

/// One round of a cell.
#[derive(Clone, Copy, Serialize)]
pub struct Sample {
    #[serde(flatten)]
    pub load: Load,
    pub cpu_us: f64,
}

/// The cost of a policy of 1,000 routes and 200 limits.
#[derive(Default, Serialize)]
pub struct LargePolicy {
    /// The milliseconds from each start to the first response, with the shipped policy.
    pub shipped_start_ms: Vec<f64>,
    /// The same with the large policy.
    pub start_ms: Vec<f64>,
    /// The CPU of a strict request as a ratio to that with the shipped policy.
    pub cpu_ratio: Vec<f64>,
}

/// The results of all measurements.
#[derive(Default, Serialize)]
pub struct Found {
    pub rounds: u32,
    pub seconds: u32,
    /// The rounds of each cell.
    pub speed: BTreeMap<&'static str, Vec<Sample>>,
    /// The p50 of each contender in milliseconds, by the distance of the store.
    pub distance: Vec<(&'static str, u32, f64)>,
    /// The calls to the store and to the upstream per request.
    pub trips: Vec<(&'static str, f64, f64)>,
    /// The milliseconds from each start to the first response.
    pub start: BTreeMap<&'static str, Vec<f64>>,
    /// The resident KiB after each number of requests.
    pub memory: BTreeMap<&'static str, Vec<(u64, u64)>>,
    /// The growing thing, its number, and the CPU as a ratio to that with the usual number.
    pub growth: Vec<(&'static str, u32, f64)>,
    /// A policy of 1,000 routes and 200 limits.
    pub large_policy: Option<LargePolicy>,
    /// The requests, the statements of the database meanwhile, and the statements of one refresh.
    pub database: Option<(u64, u64, f64)>,
    /// The Worker's gzipped size in bytes.
    pub gzip_bytes: usize,
}

impl Found {
    /// Returns the lowest, the median and the highest ratio of all rounds.
    pub fn ratio(&self, one: &str, other: &str, of: fn(&Sample) -> f64) -> Option<[f64; 3]> {
        let (one, other) = (self.speed.get(one)?, self.speed.get(other)?);
        Some(spread(one.iter().zip(other).map(|(a, b)| of(a) / of(b)).collect()))
    }
}
