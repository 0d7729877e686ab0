//! The parts around what is measured, in a process of their own: a plain upstream that has the issuer's key set,
//! proxies that make a store slow, and tokens with their records.

mod delay;
mod mint;
mod upstream;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use portcullis_bench::{HOT, Scene};

#[derive(Parser)]
#[command(about = "The parts around what `cargo xtask bench` measures")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Do one of core's hot functions many times, for whoever counts instructions.
    Repeat {
        /// Its name in bench/src/lib.rs.
        name: String,
        times: u32,
    },
    /// Serve the upstream and the slow stores until the process is ended.
    Serve(Serve),
    /// Write tokens to a file and their records to Redis.
    Mint(mint::Options),
}

#[derive(clap::Args)]
struct Serve {
    /// The upstream's port.
    #[arg(long)]
    upstream: u16,
    /// The key set that the upstream has at /jwks.json.
    #[arg(long)]
    jwks: std::path::PathBuf,
    /// PORT:MILLISECONDS:TARGET: what is sent to the port reaches the target's port, and answers come so much later.
    #[arg(long)]
    slow: Vec<delay::Slow>,
}

fn main() -> Result<()> {
    let task = Arguments::parse().task;
    if let Task::Repeat { name, times } = &task {
        let scene = Scene::new()?;
        let (_, work) = HOT.iter().find(|(hot, _)| hot == name).context("no such function")?;
        (0..*times).for_each(|_| work(&scene));
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match task {
            Task::Mint(options) => mint::run(&options).await,
            Task::Repeat { .. } => Ok(()),
            Task::Serve(serve) => {
                for slow in serve.slow {
                    tokio::spawn(slow.serve());
                }
                upstream::serve(serve.upstream, std::fs::read(serve.jwks)?).await
            }
        }
    })
}
