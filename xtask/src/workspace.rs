//! The workspace's folder, and Cargo in it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the workspace's folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// Returns a path below the workspace's folder.
pub fn at(path: &str) -> PathBuf {
    root().join(path)
}

/// Returns a Cargo command that builds into `target/`, whatever the environment says.
pub fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(root())
        .env("CARGO_TARGET_DIR", at("target"))
        .env_remove("CARGO_BUILD_TARGET");
    cargo
}
