//! The npm packages: the Worker and its commands, and the programs that `portcullis dev` runs.

use crate::process::output;
use crate::programs::{self, PROGRAMS, Profile};
use crate::tools::Tools;
use crate::worker;
use crate::workspace::{at, cargo};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the npm packages for a release into build/npm, and packs them. Returns the archives.
pub fn build(tools: &Tools) -> Result<Vec<PathBuf>> {
    let folder = at("build/npm");
    let _ = fs::remove_dir_all(&folder);
    worker::build(tools)?;
    assemble(tools, "worker", &folder.join(PACKAGE))?;
    add_programs(&programs::build(Profile::Release)?, &folder.join(PLATFORM))?;
    [PACKAGE, PLATFORM].iter().map(|name| pack(tools, &folder, name)).collect()
}

/// Builds the same quickly and unoptimised into target/npm, with the programs of a folder. Expects
/// the Worker to be built.
pub fn build_for_tests(tools: &Tools, programs: &Path) -> Result<()> {
    let folder = at("target/npm");
    assemble(tools, "dev", &folder.join(PACKAGE))?;
    add_programs(programs, &folder.join(PLATFORM))
}

/// Builds the package of the Worker and its commands.
fn assemble(tools: &Tools, profile: &str, folder: &Path) -> Result<()> {
    let mut compile = tools.wasm_command("cargo");
    compile.args(["build", "--quiet", "-p", CRATE, "--target", TARGET, "--profile", profile]);
    output(&mut compile)?;
    let mut binder = cargo();
    binder.args(["build", "--quiet", "-p", "xtask-bind"]);
    output(&mut binder)?;
    let profile = if profile == "dev" { "debug" } else { profile };
    let module = format!("target/wasm/{TARGET}/{profile}/portcullis_policy_node.wasm");
    copy_tree(&at("packages").join(PACKAGE), folder)?;
    let policy = folder.join("policy");
    fs::create_dir_all(&policy)?;
    output(Command::new(at("target/debug/xtask-bind")).arg("--node").arg(at(&module)).arg(policy))?;
    for (from, to) in [
        ("build/index.js", "worker/index.js"),
        ("build/gate.js", "worker/gate.js"),
        ("build/index_bg.wasm", "worker/index_bg.wasm"),
        ("demo/upstream.mjs", "demo/upstream.mjs"),
        ("docs/portcullis.schema.json", "portcullis.schema.json"),
        ("docs/redis-gateway-tokens.toml", "cli/redis-gateway-tokens.toml"),
    ] {
        copy(&at(from), &folder.join(to))?;
    }
    Ok(())
}

/// Builds the package of the programs for this platform.
fn add_programs(from: &Path, folder: &Path) -> Result<()> {
    copy_tree(&at("packages").join(PLATFORM), folder)?;
    for program in PROGRAMS {
        copy(&from.join(program), &folder.join("bin").join(program))?;
    }
    Ok(())
}

fn pack(tools: &Tools, folder: &Path, name: &str) -> Result<PathBuf> {
    let mut npm = tools.command("npm");
    npm.args(["pack", "--silent", "--pack-destination"]).arg(folder).arg(folder.join(name));
    let archive = output(&mut npm)?;
    Ok(folder.join(archive.trim()))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            copy(&path, &target)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("can't copy {}", from.display()))?;
    Ok(())
}

const PACKAGE: &str = "portcullis";
const PLATFORM: &str = "portcullis-linux-x64";
const CRATE: &str = "portcullis-policy-node";
const TARGET: &str = "wasm32-unknown-unknown";
