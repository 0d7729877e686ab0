//! What operators change without a deployment: blocks, other quotas for single callers, and
//! credits. The edge applies each change with its next question to the store.

mod blocks;
mod caller;
mod limits;
mod service;
mod shown;
mod target;
mod terms;

pub use caller::{CallerPart, limit_caller};
pub use service::{Adjustments, Author, Changed, Page};
pub use shown::{shown_block, shown_credits, shown_quota};
pub use target::{BlockSelector, block_target};
pub use terms::{Ending, LIST_MAX, parse_duration};

#[cfg(test)]
mod tests;
