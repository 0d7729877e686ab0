//! What a developer or a machine does with this workspace. `tools.rs` sets the machine up, `worker.rs`
//! builds the Worker, `stack.rs` runs the system (`edge.rs` and `postgres.rs` are parts of it), `dev.rs` runs it for a person,
//! `test.rs` tests it, `bench.rs` measures it.

mod bench;
mod dev;
mod edge;
mod postgres;
mod process;
mod stack;
mod test;
mod tools;
mod worker;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set up, run and test Portcullis")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure, beside a yardstick in the same run.
    Bench(bench::Options),
    /// Run the whole system on this machine, with a demo user and a demo API, until Ctrl-C.
    Dev(dev::Options),
    /// Install everything that building and testing needs, and stop.
    Setup,
    /// Run the whole system on free loopback ports for a test, until SIGINT or SIGTERM.
    Stack(stack::Options),
    /// Run the tests, all or a part.
    Test(test::Options),
    /// Build the Worker into build/; what `wrangler deploy` runs first.
    Worker,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Bench(options) => bench::run(&options),
        Task::Dev(options) => dev::run(&options),
        Task::Setup => tools::ensure(tools::Extent::Everything).map(|_| ()),
        Task::Stack(options) => stack::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Worker => build_worker(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if process::is_stopping() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn build_worker() -> Result<()> {
    let tools = tools::ensure(tools::Extent::Worker)?;
    worker::build(&tools)
}

/// Cargo, building where we look for what it built, whatever the environment says.
fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(root())
        .env("CARGO_TARGET_DIR", at("target"))
        .env_remove("CARGO_BUILD_TARGET");
    cargo
}

/// The workspace's folder.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// A path below the workspace's folder.
fn at(path: &str) -> PathBuf {
    root().join(path)
}
