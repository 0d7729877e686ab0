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
