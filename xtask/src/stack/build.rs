//! Sets up and builds everything that a stack runs.

use crate::tasks::{Runner, TaskId, Tasks};
use crate::tools::{Extent, Installed, Setup, Tools};
use crate::worker;
use crate::workspace::{at, cargo};
use anyhow::Result;

/// The binaries that a stack runs.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Binaries {
    /// Binaries of the current sources.
    Current,
    /// The binaries of the last build.
    Prebuilt,
}

/// Installs what is missing and builds, at the same time where possible.
pub fn prepare(extent: Extent, binaries: Binaries) -> Result<Tools> {
    let tools = Tools::default();
    let mut tasks = Tasks::default();
    let installed = Setup::find(extent)?.add(&mut tasks);
    if binaries == Binaries::Current {
        add(&mut tasks, &tools, &installed)?;
    }
    tasks.run()?;
    Ok(tools)
}

/// Builds the servers and the Worker.
pub fn build(tools: &Tools) -> Result<()> {
    let mut tasks = Tasks::default();
    add(&mut tasks, tools, &Installed::default())?;
    tasks.run()
}

fn add<'a>(tasks: &mut Tasks<'a>, tools: &'a Tools, installed: &Installed) -> Result<()> {
    let binder = worker::add(tasks, tools, installed)?;
    // The binder is built first and into the same folder, because the Worker waits for it.
    let after: Vec<TaskId> = [installed.compiler, binder].into_iter().flatten().collect();
    tasks.add("servers: compile", &after, build_servers);
    Ok(())
}

fn build_servers(runner: &Runner) -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["build", "-p", "portcullis-redis-gateway", "-p", "portcullis-auth"]);
    runner.run(&mut cargo, &at("target/log/servers.log"))
}
