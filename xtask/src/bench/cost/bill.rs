//! The results of a run.

use crate::bench::edge::found::NearLimit;
use crate::costs::UnitPrices;
use serde::Serialize;

/// The results.
#[derive(Serialize)]
pub struct Bill {
    /// Whether the rounds were short, by `--quick`.
    pub quick: bool,
    /// The length of the counted part.
    pub seconds: u32,
    /// The length of the warm-up before it.
    pub warm_up_seconds: u32,
    pub tokens: u32,
    pub zipf_exponent: f64,
    pub prices: UnitPrices,
    pub rows: Vec<Row>,
    pub near_limit: Vec<NearLimit>,
}

/// A contender over a number of isolates. All counts are for one request.
#[derive(Serialize)]
pub struct Row {
    pub name: &'static str,
    pub isolates: usize,
    pub requests: u64,
    pub requests_per_second: f64,
    pub reads: f64,
    pub writes: f64,
    pub posts: f64,
    pub cpu_ms: f64,
    /// The price of a million requests, with a store in one region.
    pub million: f64,
    /// The same with a global store.
    pub million_global: f64,
}
