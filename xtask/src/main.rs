//! The tasks of this workspace. `tools` sets the machine up, `worker` builds the Worker, `stack`
//! runs the system (`edge` and `postgres` configure parts of it), `dev` runs it for a developer,
//! `test` tests it, and `bench` measures it.

mod bench;
mod costs;
mod dev;
mod edge;
mod images;
mod package;
mod policy;
mod postgres;
mod process;
mod programs;
mod release;
mod stack;
mod tasks;
mod test;
#[cfg(test)]
mod tests;
mod tools;
mod worker;
mod workspace;
mod wrangler_toml;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use tools::Extent;
use workspace::{at, cargo, root};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set up, run and test Portcullis")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure, with a yardstick in the same run.
    Bench(bench::Options),
    /// Print what a month costs, by docs/costs.json.
    Costs(costs::Options),
    /// Run the whole system on this machine, with a demo user and a demo API, until Ctrl-C.
    Dev(dev::Options),
    /// Build what the container images are made of into build/images.
    Images(images::Options),
    /// Build the npm packages into build/npm, and pack them.
    Package,
    /// Check, explain and compare policy files, or print their schema; --help lists the commands.
    Policy(policy::Options),
    /// Do everything of a release but publish it, into build/release.
    Release(release::Options),
    /// Install everything that builds and tests need, and stop.
    Setup,
    /// Run the whole system on free loopback ports for a test, until SIGINT or SIGTERM.
    Stack(stack::Options),
    /// Run the tests: all, or one part.
    Test(test::Options),
    /// Build the Worker into build/. `wrangler deploy` runs this first.
    Worker(worker::Options),
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    // These tasks end by a signal. A signal to any other task interrupts its work.
    let runs_until_stopped = matches!(task, Task::Dev(_) | Task::Stack(_));
    if let Task::Policy(options) = &task {
        return policy::run(options).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        });
    }
    let outcome = match task {
        Task::Bench(options) => bench::run(&options),
        Task::Costs(options) => costs::run(&options),
        Task::Dev(options) => dev::run(&options),
        Task::Images(options) => build_images(&options),
        Task::Package => build_package(),
        Task::Policy(_) => Ok(()),
        Task::Release(options) => release::run(&options),
        Task::Setup => set_up(),
        Task::Stack(options) => stack::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Worker(options) => build_worker(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if process::is_stopping() && runs_until_stopped => ExitCode::SUCCESS,
        Err(_) if process::is_stopping() => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn set_up() -> Result<()> {
    process::listen()?;
    tools::ensure(Extent::Everything)?;
    Ok(())
}

fn build_package() -> Result<()> {
    process::listen()?;
    let tools = tools::ensure(Extent::Worker)?;
    for archive in package::build(&tools)? {
        println!("{}", archive.display());
    }
    Ok(())
}

fn build_images(options: &images::Options) -> Result<()> {
    process::listen()?;
    images::build(&tools::ensure(Extent::Images)?, options)
}

fn build_worker(options: &worker::Options) -> Result<()> {
    process::listen()?;
    worker::prepare(options)
}

/// The exit status that a shell reports for a command that SIGINT ended.
const INTERRUPTED: u8 = 130;
