//! Measurements. Each one has a yardstick in the same run, because machines differ and none is
//! idle.

mod auth;
mod cost;
mod edge;
mod end_to_end;
pub mod instructions;
pub mod measure;
mod pictures;
mod redis_gateway;

pub use end_to_end::SOAK;

use crate::process;
use anyhow::Result;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// The options of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// What to measure.
    #[arg(default_value = "edge")]
    subject: Subject,
    /// Run fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// Measure only one part of the Worker
    #[arg(long)]
    only: Option<edge::Part>,
    /// Leave out a part of the Worker; may be given several times
    #[arg(long)]
    skip: Vec<edge::Part>,
    /// `faults`: measure only the table of this name in docs/reliability.md
    #[arg(long)]
    table: Option<String>,
    /// A folder with another build of the Worker, to be measured in the same run: index.js,
    /// index_bg.wasm, and vars.json if it needs other variables
    #[arg(long)]
    beside: Option<PathBuf>,
    /// How many minutes the soak runs
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// The seed of the soak, which repeats its faults and requests; by default a new one for each
    /// run
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    prices: cost::Prices,
    /// Write the results to docs/performance.md and the files next to it, or to docs/reliability.md
    #[arg(long)]
    write: bool,
    /// `edge`: go on with the results of a run that failed
    #[arg(long)]
    resume: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    /// The Worker, compared with its peers
    Edge,
    /// The store's commands, as billed, for each request to the Worker, and what a million cost
    Cost,
    /// The whole system during faults: 20 s of each fault at 200 requests a second
    Faults,
    /// Statuses over time while the store dies and returns, and each limit algorithm under a burst.
    Outage,
    /// Draw the pictures of the documentation again, from the measurements next to them.
    Pictures,
    /// The redis gateway, compared with redis-benchmark on the same Redis
    RedisGateway,
    /// Instructions of core's hot functions, compared with the committed counts
    Instructions,
    /// The auth service: refreshes and logins a second, on either database
    Auth,
    /// The whole system under mixed load for half an hour, with one fault a minute
    Soak,
    /// Fifty clients that refresh, log out and are revoked at random for a minute, on either
    /// database
    Storm,
}

pub fn run(options: &Options) -> Result<()> {
    process::listen()?;
    match options.subject {
        Subject::Edge => edge::run(&edge::Options {
            quick: options.quick,
            write: options.write,
            resume: options.resume,
            only: options.only,
            skip: options.skip.clone(),
            beside: options.beside.clone(),
        }),
        Subject::Cost => cost::run(&options.prices, options.quick, options.write),
        Subject::Faults => {
            end_to_end::faults(options.quick, options.write, options.table.as_deref())
        }
        Subject::Outage => end_to_end::outage(options.quick, options.write),
        Subject::Pictures => pictures::draw(),
        Subject::RedisGateway => redis_gateway::run(options.quick, options.write),
        Subject::Instructions => instructions::run(options.write),
        Subject::Auth => auth::run(options.quick, options.write),
        Subject::Soak => end_to_end::soak(options.minutes, options.seed, options.write),
        Subject::Storm => end_to_end::storm(options.quick),
    }
}
