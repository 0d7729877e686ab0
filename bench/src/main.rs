//! Helpers for the benchmarks, in a separate process: a plain upstream with the issuer's key set,
//! proxies that delay a store's responses, and tokens with their records.

mod delay;
mod mint;
mod upstream;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Helpers for `cargo xtask bench`")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
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
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match task {
            Task::Mint(options) => mint::run(&options).await,
            Task::Serve(serve) => {
                for proxy in serve.slow {
                    tokio::spawn(proxy.serve());
                }
                upstream::serve(serve.upstream, std::fs::read(serve.jwks)?).await
            }
        }
    })
}
