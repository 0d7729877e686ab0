//! Runs the fuzz targets with libFuzzer.
//!
//! They are built as `cargo fuzz build --sanitizer none` builds them: on stable Rust, with coverage
//! but without a sanitizer, because the code under test contains no `unsafe`.

use super::report::Report;
use crate::at;
use crate::workspace::cargo;
use anyhow::{Context as _, Result};
use std::fs;
use std::process::Command;

/// Builds each fuzz target and runs it for some seconds.
pub fn run(seconds: u32, report: &mut Report) -> Result<()> {
    let host = host()?;
    let mut build = cargo();
    build.args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", &host]);
    build.env("CARGO_TARGET_DIR", at("target/fuzz")).env("RUSTFLAGS", COVERAGE.join(" "));
    let failed = report.failures().len();
    report.check("fuzz targets", build)?;
    if report.failures().len() > failed {
        return Ok(());
    }
    let mut targets: Vec<_> = fs::read_dir(at("fuzz/seeds"))?.flatten().collect();
    targets.sort_by_key(fs::DirEntry::file_name);
    let mut runs = Vec::new();
    for target in targets {
        let name = target.file_name().to_string_lossy().into_owned();
        let corpus = at("target/fuzz/corpus").join(&name);
        fs::create_dir_all(&corpus)?;
        let mut run = Command::new(at("target/fuzz").join(&host).join("release").join(&name));
        run.arg(&corpus).arg(target.path()).arg(format!("-max_total_time={seconds}"));
        run.arg(format!("-artifact_prefix={}/", at("target/fuzz").display()));
        run.args(["-seed=1", "-max_len=8192", "-timeout=5", "-rss_limit_mb=2048", "-verbosity=0"]);
        runs.push((format!("fuzz {name} for {seconds} s"), run));
    }
    report.check_at_once(runs)
}

/// Returns the compiler's own target. Passing it as `--target` keeps the flags below from build
/// scripts, which can't be linked with them.
fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc -vV")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The information that libFuzzer uses: edges, compared values and their places.
const COVERAGE: [&str; 9] = [
    "--cfg fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
];
