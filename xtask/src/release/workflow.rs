//! The release workflow's run, as GitHub describes it in variables.

use std::env::var;

/// A run of the release workflow for a tag.
pub struct Workflow {
    /// The tag, such as `v0.1.0`.
    pub tag: String,
    /// The address of the repository.
    pub repository: String,
}

impl Workflow {
    /// Finds the run that this process is a part of. Returns `None` elsewhere, and for a branch.
    pub fn find() -> Option<Self> {
        let is = |name: &str, wanted: &str| var(name).is_ok_and(|value| value == wanted);
        if !is("GITHUB_ACTIONS", "true") || !is("GITHUB_REF_TYPE", "tag") {
            return None;
        }
        let server = var("GITHUB_SERVER_URL").ok()?;
        let repository = format!("{server}/{}", var("GITHUB_REPOSITORY").ok()?);
        Some(Self { tag: var("GITHUB_REF_NAME").ok()?, repository })
    }
}
