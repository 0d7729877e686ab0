//! Usage: collects the batches of the edges from the store, and reports what they add up to.

mod collector;
mod csv;
mod report;

pub use collector::Collector;
pub use report::{UsageFormat, UsageQuestion};

#[cfg(test)]
mod tests;
