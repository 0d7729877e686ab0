//! What a developer or a machine does with this workspace. `tools` sets the machine up, `worker`
//! builds the Worker, `stack` runs the system (`edge` and `postgres` configure parts of it), `dev`
//! runs it for a person, `test` tests it, and `bench` measures it.

mod bench;
mod dev;
mod edge;
mod policy;
mod postgres;
mod process;
mod stack;
mod tasks;
mod test;
mod tools;
mod worker;
mod workspace;

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
    /// Measure, beside a yardstick in the same run.
    Bench(bench::Options),
    /// Run the whole system on this machine, with a demo user and a demo API, until Ctrl-C.
    Dev(dev::Options),
    /// Work on the policy file.
    #[command(subcommand)]
    Policy(PolicyTask),
    /// Install everything that building and testing needs, and stop.
    Setup,
    /// Run the whole system on free loopback ports for a test, until SIGINT or SIGTERM.
    Stack(stack::Options),
    /// Run the tests, all or a part.
    Test(test::Options),
    /// Build the Worker into build/; what `wrangler deploy` runs first.
    Worker,
}

#[derive(Subcommand)]
enum PolicyTask {
    /// Print the JSON Schema of the policy file.
    Schema {
        /// Write docs/portcullis.schema.json instead.
        #[arg(long)]
        write: bool,
    },
}

fn main() -> ExitCode {
    let task = Arguments::parse().task;
    // A signal is how these end; what else it interrupts is not done.
    let runs_until_stopped = matches!(task, Task::Dev(_) | Task::Stack(_));
    let outcome = match task {
        Task::Bench(options) => bench::run(&options),
        Task::Dev(options) => dev::run(&options),
        Task::Policy(PolicyTask::Schema { write: true }) => policy::schema::write(),
        Task::Policy(PolicyTask::Schema { write: false }) => policy::schema::print(),
        Task::Setup => set_up(),
        Task::Stack(options) => stack::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Worker => build_worker(),
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

fn build_worker() -> Result<()> {
    process::listen()?;
    worker::prepare()
}

/// What a shell reports for a command that SIGINT ended.
const INTERRUPTED: u8 = 130;
