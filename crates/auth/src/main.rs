//! The program: its log, its arguments and its exit status.

use portcullis_auth::Cli;
use portcullis_server::Log;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let log = Log::start("auth");
    let code = portcullis_auth::run(&Cli::parse(), log.clone()).await;
    log.finish();
    code
}
