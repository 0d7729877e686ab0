//! Runs the tests, the cheapest part first. At the end come the seconds of each part, and then the
//! counts.

mod effort;
mod fuzz;
mod parts;
mod previous;
mod report;

use crate::process;
use crate::tools::{self, Extent};
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use effort::{DEFAULT, LONG};
use report::Report;
use std::time::Instant;

/// The options of `cargo xtask test`.
#[derive(Args)]
pub struct Options {
    /// The part to run; all of them by default.
    part: Option<Part>,
    /// Run only the end-to-end tests whose path contains this text.
    #[arg(long)]
    only: Option<String>,
    /// How long each fuzz target runs, in seconds: 5, or 60 with --long.
    #[arg(long)]
    fuzz_seconds: Option<u32>,
    /// Run a nightly: the same tests, with longer fuzzing, storms and crashes.
    #[arg(long)]
    long: bool,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Part {
    /// The bundle: a dry run of its deployment, and its size
    Bundle,
    /// The whole system, as its users run it
    E2e,
    /// Each fuzz target, for a few seconds
    Fuzz,
    /// Instructions of core's hot functions, compared with the committed counts
    Instructions,
    /// Format, lints and documentation
    Lint,
    /// Unit and property tests
    Unit,
    /// The unit tests of core and of the protocols on wasm32
    Wasm,
}

impl Part {
    /// Every part, the cheapest first.
    const ALL: [Self; 7] = [
        Self::Lint,
        Self::Unit,
        Self::Wasm,
        Self::Fuzz,
        Self::Bundle,
        Self::Instructions,
        Self::E2e,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::E2e => "e2e",
            Self::Fuzz => "fuzz",
            Self::Instructions => "instructions",
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Wasm => "wasm",
        }
    }
}

/// Runs the selected parts. Returns an error if a test or check failed.
pub fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    process::listen()?;
    let tools = tools::ensure(Extent::Everything)?;
    let mut effort = if options.long { LONG } else { DEFAULT };
    effort.fuzz_seconds = options.fuzz_seconds.unwrap_or(effort.fuzz_seconds);
    let mut report = Report::default();
    for part in Part::ALL.into_iter().filter(|part| options.part.is_none_or(|one| one == *part)) {
        report.begin(part.name());
        match part {
            Part::Lint => parts::lint(&tools, &mut report)?,
            Part::Unit => parts::unit(&mut report)?,
            Part::Wasm => parts::wasm(&tools, &mut report)?,
            Part::Fuzz => fuzz::run(effort.fuzz_seconds, &mut report)?,
            Part::Bundle => parts::bundle(&tools, &mut report)?,
            Part::Instructions => parts::instructions(&mut report)?,
            Part::E2e => parts::e2e(&tools, effort, options.only.as_deref(), &mut report)?,
        }
    }
    report.print(begun.elapsed());
    match report.failures() {
        [] => Ok(()),
        failures => bail!("failed: {}", failures.join(", ")),
    }
}
