//! Metrics: counters of the isolate and what else operators learn of it, and their export.

pub mod counters;
mod edges;
pub mod ending;
pub mod export;
pub mod observed;
mod policy;
mod refusals;
