//! What a policy file means, before it is live: `check` finds its errors and risks, `explain` says
//! what happens to a request, and `diff` says what a change allows. All three run the edge's own
//! code.
//!
//! The crate does no I/O. A host gives it the files, and prints what it returns.

mod build;
mod check;
mod command;
mod diff;
mod explain;
mod file;
mod risk;
#[cfg(test)]
mod round_trip;
#[cfg(test)]
mod settings;
#[cfg(test)]
mod testing;

pub use build::worker_module;
pub use command::{Host, Outcome, Verify, run};
pub use file::{module, sections};
