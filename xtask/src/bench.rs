//! Measurements, each beside a yardstick in the same run, since machines differ and none is quiet.

mod auth;
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

/// Options of `cargo xtask bench`.
#[derive(Args)]
pub struct Options {
    /// What to measure.
    #[arg(default_value = "edge")]
    subject: Subject,
    /// Fewer and shorter rounds.
    #[arg(long)]
    quick: bool,
    /// One part of what is measured of the Worker.
    #[arg(long)]
    only: Option<edge::Part>,
    /// Another build of the Worker, measured in the same run: a folder with index.js and index_bg.wasm, and with
    /// vars.json if it needs other variables.
    #[arg(long)]
    beside: Option<PathBuf>,
    /// How long the soak runs.
    #[arg(long, default_value_t = 30)]
    minutes: u64,
    /// The seed of the soak, which repeats its faults and requests; by default another one in each run.
    #[arg(long)]
    seed: Option<u64>,
    /// Put what was found into docs/performance.md and beside it, or into docs/reliability.md.
    #[arg(long)]
    write: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    /// The Worker, beside its peers.
    Edge,
    /// The whole system while its parts do harm: 20 s of each fault at 200 requests a second.
    Faults,
    /// Statuses over time while the store dies and returns, and each limit algorithm under a burst.
    Outage,
    /// Draw the pictures of the documentation again, from the measurements next to them.
    Pictures,
    /// The redis gateway, beside redis-benchmark on the same Redis.
    RedisGateway,
    /// Instructions of core's hot functions, beside those that are committed.
    Instructions,
    /// The auth service: refreshes and logins a second, on either database.
    Auth,
    /// The whole system under mixed load for half an hour, with one fault a minute.
    Soak,
    /// Fifty clients that refresh, log out and are revoked at random for a minute, on either database.
    Storm,
}

pub fn run(options: &Options) -> Result<()> {
    process::listen()?;
    match options.subject {
        Subject::Edge => edge::run(&edge::Options {
            quick: options.quick,
            write: options.write,
            only: options.only,
            beside: options.beside.clone(),
        }),
        Subject::Faults => end_to_end::faults(options.quick, options.write),
        Subject::Outage => end_to_end::outage(options.quick, options.write),
        Subject::Pictures => pictures::draw(),
        Subject::RedisGateway => redis_gateway::run(options.quick, options.write),
        Subject::Instructions => instructions::run(options.write),
        Subject::Auth => auth::run(options.quick, options.write),
        Subject::Soak => end_to_end::soak(options.minutes, options.seed, options.write),
        Subject::Storm => end_to_end::storm(options.quick),
    }
}
