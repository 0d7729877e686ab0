//! What the edges tell operators through the store: counters, and samples of refused requests.

pub(crate) mod histograms;
pub(crate) mod refusals;
pub(crate) mod samples;
pub(crate) mod totals;
