//! What outbox rows are about.

use crate::db::{ABOUT_BLOCK, ABOUT_CREDITS, ABOUT_NETWORKS, ABOUT_QUOTA};

/// Returns whether rows about `about` belong to a block, a quota or credits.
pub(super) fn is_adjustment(about: &str) -> bool {
    [ABOUT_BLOCK, ABOUT_CREDITS, ABOUT_NETWORKS, ABOUT_QUOTA]
        .iter()
        .any(|kind| about.starts_with(kind))
}
