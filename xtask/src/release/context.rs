//! What all steps of a release need.

use super::workflow::Workflow;
use crate::programs::Profile;
use crate::tools::Tools;
use crate::workspace::{at, root};
use std::path::{Path, PathBuf};

/// What all steps need.
pub struct Release {
    pub tools: Tools,
    pub version: String,
    pub profile: Profile,
    pub is_long: bool,
    pub workflow: Option<Workflow>,
}

/// Returns the folder of a release's files.
pub fn folder() -> PathBuf {
    at("build/release")
}

/// Returns a path as it is printed: below the workspace's folder.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
