//! The program: its log, its arguments and its exit status.

use clap::Parser as _;
use portcullis_auth::Cli;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .json()
        .with_span_list(false)
        .with_max_level(tracing::Level::INFO)
        .init();
    portcullis_auth::run(&Cli::parse()).await
}
