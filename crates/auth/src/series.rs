//! Time series: collects what the edges and this service count, keeps the last ten minutes in
//! memory, and writes minutes to the database.

mod collector;
mod counters;
mod edges;
mod histogram;
mod labels;
mod live;
mod own;
mod policies;
mod refusals;
mod service;
mod summary;

pub use collector::READINGS;
pub use edges::EdgeReport;
pub use own::OwnCounts;
pub use policies::LimitSettings;
pub use refusals::{RecentRefusal, RefusalStep};
pub use service::{Observed, Point, Series};
pub use summary::{summary, sums_by};

#[cfg(test)]
mod tests;
