//! Counts the native instructions of core's hot functions with callgrind. The counts do not depend
//! on other load on the machine. Changes are compared with the committed counts.

use super::measure::output;
use crate::at;
use crate::process::{self, write_atomically};
use crate::tasks::step;
use crate::tools::{self, Extent};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::process::Command;

/// A function's count: committed and current.
pub struct Count {
    pub name: String,
    pub committed: u64,
    pub now: u64,
}

impl Count {
    /// Returns whether the function takes so many more instructions that the change must be
    /// explained.
    pub fn is_worse(&self) -> bool {
        self.now > self.committed + self.committed * WORSE_PERCENT / 100
    }
}

pub fn run(write: bool) -> Result<()> {
    let counts = measure()?;
    for Count { name, committed, now } in &counts {
        println!("{name:16} {now:>8} instructions, {committed} committed");
    }
    if write {
        let lines: Vec<String> =
            counts.iter().map(|count| format!("{} {}\n", count.name, count.now)).collect();
        return write_atomically(&at(FILE), &format!("{}\n{}", compiler()?, lines.concat()));
    }
    let worse: Vec<&str> =
        counts.iter().filter(|count| count.is_worse()).map(|count| count.name.as_str()).collect();
    if !worse.is_empty() {
        bail!(
            "more than {WORSE_PERCENT}% above {FILE}: {}; with a reason: --write",
            worse.join(", ")
        );
    }
    Ok(())
}

/// Returns whether the committed counts were made with the installed compiler.
pub fn is_comparable() -> Result<bool> {
    Ok(fs::read_to_string(at(FILE))?.lines().next() == Some(compiler()?.as_str()))
}

fn compiler() -> Result<String> {
    Ok(output(Command::new("rustc").current_dir(crate::root()).arg("--version"))?.trim().to_owned())
}

/// Counts all functions.
pub fn measure() -> Result<Vec<Count>> {
    tools::ensure(Extent::Instructions)?;
    let mut cargo = crate::cargo();
    cargo.args(["build", "--release", "-p", "portcullis-hot"]);
    step("hot functions: build", &mut cargo, &at("target/log/instructions.log"))?;
    let committed = fs::read_to_string(at(FILE))?;
    let lines = committed.lines().skip(1).filter_map(|line| line.split_once(' '));
    lines
        .map(|(name, committed)| {
            process::check_stop()?;
            // The start and the end of the program are in both counts, so the difference does not
            // contain them.
            let now = (collected(name, FEW + MORE)? - collected(name, FEW)?) / u64::from(MORE);
            Ok(Count { name: name.to_owned(), committed: committed.parse()?, now })
        })
        .collect()
}

/// Returns the instructions of a whole run.
fn collected(name: &str, times: u32) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-fd=1"]);
    valgrind.arg(at("target/release/portcullis-hot")).args([name, &times.to_string()]);
    let text = output(&mut valgrind)?;
    let line = text.lines().find_map(|line| line.split_once("Collected :"));
    line.context("callgrind collected nothing")?.1.trim().parse().context("callgrind's count")
}

const FILE: &str = "bench/instructions.txt";
const FEW: u32 = 20;
const MORE: u32 = 200;
/// The increase above which a function fails the tests.
const WORSE_PERCENT: u64 = 5;
