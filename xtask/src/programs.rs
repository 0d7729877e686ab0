//! The two servers as programs that need no library of the system: for the npm package of this
//! platform, and for the container images.

use crate::process::output;
use crate::workspace::{at, cargo};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;

/// The names of the programs, which are those of their crates.
pub const PROGRAMS: [&str; 2] = ["portcullis-auth", "portcullis-redis-gateway"];

/// How far the compiler optimises.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Profile {
    /// As the tests' programs.
    Debug,
    /// As a release.
    Release,
}

/// Builds the programs. Returns their folder.
///
/// Only their last crate is compiled and linked again: a crate's own flags leave its dependencies,
/// which other builds share, as they are. The programs in Cargo's own folder are replaced.
pub fn build(profile: Profile) -> Result<PathBuf> {
    let (name, flags): (_, &[&str]) = match profile {
        Profile::Debug => ("debug", &[]),
        Profile::Release => ("release", &["--release"]),
    };
    let folder = at("target/static").join(name);
    fs::create_dir_all(&folder)?;
    for program in PROGRAMS {
        let mut compile = cargo();
        compile.args(["rustc", "--quiet", "-p", program, "--bin", program]).args(flags);
        compile.args(["--", "-C", "target-feature=+crt-static", "-C", "strip=symbols"]);
        output(&mut compile)?;
        let from = at("target").join(name).join(program);
        fs::copy(&from, folder.join(program))
            .with_context(|| format!("can't copy {}", from.display()))?;
    }
    Ok(folder)
}
