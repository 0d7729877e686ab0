//! The policy tools for Node: compiled to Wasm, next to the program that calls them.

use crate::process::output;
use crate::tools::Tools;
use crate::workspace::{at, cargo};
use anyhow::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the npm package for a release into build/npm.
pub fn package(tools: &Tools) -> Result<PathBuf> {
    let folder = at("build/npm");
    build(tools, "worker", &folder)?;
    Ok(folder)
}

/// Builds the package for tests, quickly and unoptimised, into target/policy-tools.
pub fn build_for_tests(tools: &Tools) -> Result<()> {
    build(tools, "dev", &at("target/policy-tools"))
}

fn build(tools: &Tools, profile: &str, folder: &Path) -> Result<()> {
    let mut compile = tools.wasm_command("cargo");
    compile.args(["build", "--quiet", "-p", CRATE, "--target", TARGET, "--profile", profile]);
    output(&mut compile)?;
    let mut binder = cargo();
    binder.args(["build", "--quiet", "-p", "xtask-bind"]);
    output(&mut binder)?;
    let profile = if profile == "dev" { "debug" } else { profile };
    let module = format!("target/wasm/{TARGET}/{profile}/portcullis_policy_node.wasm");
    fs::create_dir_all(folder)?;
    output(Command::new(at("target/debug/xtask-bind")).arg("--node").arg(at(&module)).arg(folder))?;
    for file in fs::read_dir(at("packages/portcullis"))? {
        let path = file?.path();
        fs::copy(&path, folder.join(path.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

const CRATE: &str = "portcullis-policy-node";
const TARGET: &str = "wasm32-unknown-unknown";
