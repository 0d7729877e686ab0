//! `cargo xtask release`: everything of a release but its publication, into build/release. The
//! release workflow publishes what it finds there.

mod archive;
mod changelog;
mod checksum;
mod contents;
mod context;
mod crates;
mod packages;
mod reproduce;
mod sbom;
#[cfg(test)]
mod tests;
mod versions;
mod workflow;

use crate::package;
use crate::process;
use crate::programs::{self, Profile};
use crate::tools::{self, Extent};
use crate::worker;
use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use context::{Release, folder};
use std::fs;
use workflow::Workflow;

/// The options of `cargo xtask release`.
#[derive(Args)]
pub struct Options {
    /// Run on any machine. Without it, the command runs in the release workflow alone.
    #[arg(long)]
    dry_run: bool,
    /// Build programs and packages as users run them. The default is the build of the tests.
    #[arg(long)]
    release: bool,
    /// Also build each crate from its package, and the Wasm in a second folder.
    #[arg(long)]
    long: bool,
    /// Use the programs and packages that the end-to-end tests have built.
    #[arg(long)]
    prebuilt: bool,
    /// Only these steps, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Step>,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Step {
    /// The versions of crates, npm packages and changelog agree
    Versions,
    /// The changelog's section
    Changelog,
    /// The programs and their npm package for this platform, with checksums
    Programs,
    /// The npm packages for all platforms, and what they contain
    Npm,
    /// The crates, as crates.io would get them
    Crates,
    /// The lists of components (SBOM), in CycloneDX
    Sbom,
    /// The Wasm is the same from another folder
    Wasm,
}

impl Step {
    const ALL: [Self; 7] = [
        Self::Versions,
        Self::Changelog,
        Self::Programs,
        Self::Npm,
        Self::Crates,
        Self::Sbom,
        Self::Wasm,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Versions => "versions",
            Self::Changelog => "changelog",
            Self::Programs => "programs",
            Self::Npm => "npm",
            Self::Crates => "crates",
            Self::Sbom => "sbom",
            Self::Wasm => "wasm",
        }
    }
}

/// Runs the steps, and prints a line for each. Returns an error that names the steps that failed.
pub fn run(options: &Options) -> Result<()> {
    process::listen()?;
    let workflow = Workflow::find();
    if !options.dry_run && workflow.is_none() {
        bail!(
            "cargo xtask release runs in the release workflow, for a tag; here, add --dry-run to do \
             everything but publish"
        );
    }
    let workflow = workflow.filter(|_| !options.dry_run);
    let is_whole = workflow.is_some() || options.release;
    let release = Release {
        tools: tools::ensure(Extent::Worker)?,
        version: versions::version()?,
        profile: if is_whole { Profile::Release } else { Profile::Debug },
        is_long: workflow.is_some() || options.long,
        workflow,
    };
    let is_wanted = |step: &Step| options.only.is_empty() || options.only.contains(step);
    let steps: Vec<Step> = Step::ALL.into_iter().filter(is_wanted).collect();
    fs::create_dir_all(folder())?;
    if !options.prebuilt {
        release.build(&steps)?;
    }
    let mut failed = Vec::new();
    for step in steps {
        let outcome = release.perform(step);
        process::check_stop()?;
        match outcome {
            Ok(done) => println!("{:<9} {done}", step.name()),
            Err(error) => {
                println!("{:<9} FAILED: {error:#}", step.name());
                failed.push(step.name());
            }
        }
    }
    if !failed.is_empty() {
        bail!("not ready for a release: {}", failed.join(", "));
    }
    Ok(())
}

impl Release {
    /// Builds what the steps read: programs, Worker and packages.
    fn build(&self, steps: &[Step]) -> Result<()> {
        let needs = |those: &[Step]| those.iter().any(|step| steps.contains(step));
        if needs(&[Step::Programs, Step::Npm]) {
            programs::build(self.profile)?;
        }
        if needs(&[Step::Programs, Step::Npm, Step::Wasm]) {
            worker::build(&self.tools)?;
        }
        if needs(&[Step::Programs, Step::Npm]) {
            package::assemble_all(&self.tools, self.profile)?;
        }
        Ok(())
    }

    fn perform(&self, step: Step) -> Result<String> {
        match step {
            Step::Versions => versions::check(&self.version, self.workflow.as_ref()),
            Step::Changelog => changelog::extract(&self.version, self.workflow.is_some()),
            Step::Programs => archive::build(self),
            Step::Npm => packages::pack_portable(self),
            Step::Crates => crates::package(self.is_long),
            Step::Sbom => sbom::write_all(),
            Step::Wasm if self.is_long => reproduce::check(&self.tools),
            Step::Wasm => Ok("not built twice; --long does it".to_owned()),
        }
    }
}
