//! Probes: whether a program is installed, and its version.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Returns the output of a program with `--version`; `None` if it does not run.
pub fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns whether a command succeeds.
pub fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Returns whether the search path has a program.
pub fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Returns the folder of PostgreSQL's programs: Debian's newest, or the one of `initdb` in the
/// search path.
pub fn postgres_bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.retain(|folder| folder.join("initdb").exists());
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders
        .pop()
        .or_else(|| std::env::split_paths(&path).find(|folder| folder.join("initdb").exists()))
}
