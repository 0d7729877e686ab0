//! Usage: collects the batches of the edges from the store, and reports what they add up to.

mod collector;
mod csv;
mod report;

pub use collector::Collector;
pub use csv::write_line as write_csv_line;
pub use report::{PAGE_MAX as USAGE_PAGE_MAX, UsageFormat, UsageQuestion, time as read_time};

#[cfg(test)]
mod tests;
