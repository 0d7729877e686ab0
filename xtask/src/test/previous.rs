//! The version before this one, built in a folder of its own, for the tests of neighbours.

use crate::at;
use crate::process::output;
use anyhow::{Context as _, Result};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

/// Builds the newest tagged version that this one follows. Returns its folder, or `None` if there
/// is no such tag.
pub fn build() -> Result<Option<PathBuf>> {
    let Some(tag) = newest_tag(&output(git().args(TAGS))?) else { return Ok(None) };
    let folder = at("target/previous").join(&tag);
    if !folder.exists() {
        output(git().args(["worktree", "add", "--force", "--detach"]).arg(&folder).arg(&tag))?;
        // It uses the tools and packages of this version, which `setup` has installed.
        for shared in ["node_modules", ".tools"] {
            symlink(at(shared), folder.join(shared)).with_context(|| format!("link {shared}"))?;
        }
    }
    for arguments in [&BUILD_PROGRAMS[..], &["xtask", "worker"]] {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&folder).env("CARGO_TARGET_DIR", folder.join("target"));
        output(cargo.env_remove("CARGO_BUILD_TARGET").args(arguments))?;
    }
    Ok(Some(folder))
}

/// Returns the first tag of a version in a list, the newest first.
fn newest_tag(tags: &str) -> Option<String> {
    tags.lines().map(str::trim).find(|tag| !tag.is_empty()).map(str::to_owned)
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(at("."));
    git
}

/// Lists the tags of versions in this one's history, but not its own tag.
const TAGS: [&str; 7] = [
    "tag",
    "--list",
    "v*",
    "--merged=HEAD",
    "--no-contains=HEAD",
    "--sort=-v:refname",
    "--format=%(refname:short)",
];
const BUILD_PROGRAMS: [&str; 7] =
    ["build", "-p", "xtask", "-p", "portcullis-auth", "-p", "portcullis-redis-gateway"];
