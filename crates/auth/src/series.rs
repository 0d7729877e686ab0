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

pub use counters::READINGS;
pub use edges::{EdgeReport, read_reports};
pub use labels::{label, labelled};
pub use live::STEP_SECONDS;
pub use own::OwnCounts;
pub use policies::{LimitSettings, policy_hash};
pub use refusals::RecentRefusal;
pub use service::{Observed, Point, Series, add_all};
pub use summary::{is_own, refused_by, summary};

#[cfg(test)]
pub use collector::Readings;
#[cfg(test)]
pub use refusals::RefusalStep;

#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
