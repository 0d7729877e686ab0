//! Metrics: counters of the isolate, and their export.

pub mod counters;
pub mod export;
