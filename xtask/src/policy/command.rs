//! `cargo xtask policy`: check, explain and compare policy files.

use super::{schema, signature};
use anyhow::{Context as _, Result};
use clap::Args;
use portcullis_policy::Outcome;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

/// The options of `cargo xtask policy`.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// check, diff or explain, and its arguments, which --help lists; or schema [--write].
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs a command of the policy tools, or prints the schema. Returns the exit status.
pub fn run(options: &Options) -> Result<ExitCode> {
    match options.arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["schema"] => return schema::print().map(|()| ExitCode::SUCCESS),
        ["schema", "--write"] => return schema::write().map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let words: Vec<&str> = options.arguments.iter().map(String::as_str).collect();
    let outcome = execute(&words)?;
    match outcome.status {
        2 => std::io::stderr().write_all(outcome.text.as_bytes())?,
        _ => std::io::stdout().write_all(outcome.text.as_bytes())?,
    }
    Ok(ExitCode::from(outcome.status))
}

/// Runs a command of the policy tools on the files of this machine.
pub(super) fn execute(words: &[&str]) -> Result<Outcome> {
    let arguments = ["cargo xtask policy"].iter().chain(words);
    let arguments: Vec<String> = arguments.map(|word| (*word).to_owned()).collect();
    let read = |path: &str| fs::read_to_string(path).map_err(|error| error.to_string());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock")?;
    let has_colours = std::io::stdout().is_terminal();
    let verify = |key: &_, bytes: &_, input: &_| {
        signature::verify(key, bytes, input).map_err(|error| format!("{error:#}"))
    };
    Ok(portcullis_policy::run(&arguments, &read, &verify, now.as_secs(), has_colours))
}
