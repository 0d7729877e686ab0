//! Helpers for the benchmarks, in a process of their own: a plain upstream with the issuer's key
//! set, proxies that delay a store's responses, and tokens with their records.

mod delay;
mod mint;
mod upstream;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use portcullis_bench::{HOT, Scene};

#[derive(Parser)]
#[command(about = "Helpers for `cargo xtask bench`")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run one of core's hot functions many times, to count its instructions.
    Repeat {
        /// The function's name in `HOT` of bench/src/lib.rs.
        name: String,
        times: u32,
    },
    /// Serve the upstream and the delay proxies until the process ends.
    Serve(Serve),
    /// Write tokens to a file and their records to Redis.
    Mint(mint::Options),
}

#[derive(clap::Args)]
struct Serve {
    /// The upstream's port.
    #[arg(long)]
    upstream: u16,
    /// File of the key set that the upstream serves at /jwks.json.
    #[arg(long)]
    jwks: std::path::PathBuf,
    /// PORT:MILLISECONDS:TARGET: forwards the port to the target port, and delays responses.
    #[arg(long)]
    slow: Vec<delay::DelayProxy>,
}

fn main() -> Result<()> {
    let task = Arguments::parse().task;
    if let Task::Repeat { name, times } = &task {
        let scene = Scene::new()?;
        let (_, function) = HOT.iter().find(|(hot, _)| hot == name).context("no such function")?;
        (0..*times).for_each(|_| function(&scene));
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match task {
            Task::Mint(options) => mint::run(&options).await,
            Task::Repeat { .. } => Ok(()),
            Task::Serve(serve) => {
                for proxy in serve.slow {
                    tokio::spawn(proxy.serve());
                }
                upstream::serve(serve.upstream, std::fs::read(serve.jwks)?).await
            }
        }
    })
}
