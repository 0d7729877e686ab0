//! The command line.

use super::table::{ALL, LISTENERS, TABLE};
use clap::{Arg, Args as _, Command, FromArgMatches as _, ValueHint};
use portcullis_server::settings::{arguments, flags, secrets_help};
use portcullis_server::{CompletionOptions, HealthOptions};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// A parsed command line.
pub struct CommandLine {
    pub action: Action,
    /// The values of the settings' flags, by their variables.
    pub(super) flags: BTreeMap<&'static str, String>,
    /// The file of settings.
    pub(super) file: Option<PathBuf>,
}

/// What the program is to do.
#[derive(Clone, Copy)]
pub enum Action {
    Completions(CompletionOptions),
    Health(HealthOptions),
    Serve,
}

impl CommandLine {
    /// Parses the command line of this process. Ends the process if it is invalid, or asks for
    /// help.
    pub fn parse() -> Self {
        Self::parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    pub(super) fn parse_from(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(arguments)?;
        let file = matches.get_one::<String>(TABLE.file_variable);
        let file = file.filter(|file| !file.is_empty()).map(PathBuf::from);
        let action = match matches.subcommand() {
            Some((COMPLETIONS, matches)) => {
                Action::Completions(CompletionOptions::from_arg_matches(matches)?)
            }
            Some((HEALTH, matches)) => Action::Health(HealthOptions::from_arg_matches(matches)?),
            _ => Action::Serve,
        };
        Ok(Self { action, flags: flags(&TABLE, &matches), file })
    }
}

/// Returns the command line's definition, with a flag for each setting.
pub fn command() -> Command {
    let file = Arg::new(TABLE.file_variable).long("config").env(TABLE.file_variable);
    let file = file.value_name("FILE").help("A TOML file of settings, such as redis-gateway.toml");
    let file = file.value_hint(ValueHint::FilePath).global(true);
    // The options' own description would replace one that is set before.
    let health = HealthOptions::augment_args(Command::new(HEALTH)).about(HEALTH_HELP);
    let health = health.args(arguments(&LISTENERS));
    let completions = CompletionOptions::augment_args(Command::new(COMPLETIONS));
    let completions = completions.about(COMPLETIONS_HELP);
    let about = "Serves the Upstash REST protocol in front of any Redis.";
    let command = Command::new("portcullis-redis-gateway").version(env!("CARGO_PKG_VERSION"));
    let command = command.about(about).long_about(format!("{about}\n\n{HELP}"));
    let command = command.after_long_help(format!("{}\n\n{AFTER_HELP}", secrets_help(ALL)));
    command.arg(file).args(arguments(ALL)).subcommands([completions, health])
}

const COMPLETIONS: &str = "completions";
const COMPLETIONS_HELP: &str = "Print the script by which a shell completes this command line";
const HEALTH: &str = "health";
const HEALTH_HELP: &str = "\
Check the redis gateway that runs on this machine with the same settings, as a container's health check \
does. Prints one line, and exits with 0 if it is healthy, 1 if it is not, 2 if the settings are invalid";

const HELP: &str = "\
Each setting is taken from its flag, or else from the environment, or else from the file that --config \
names. In the file it is the member of a section that its help names: [file: redis.url] is `url` in \
[redis]. docs/redis-gateway.toml has them all.

Secrets have no flags, because other users of the machine can see command lines, and are not in the \
file. Tokens with other roles than full and read are in the file that --tokens-file names. Set a \
REDIS_URL with a password in the environment, too.

In place of these settings, those of serverless-redis-http are accepted: SRH_MODE, SRH_TOKEN, \
SRH_CONNECTION_STRING, SRH_MAX_CONNECTIONS, SRH_PORT, SRH_IPV6 and its file of tokens.";

const AFTER_HELP: &str = "\
Exit status:
  0  The redis gateway has ended after a signal, or the command did its work.
  1  It failed: the log says why. For `health`: the redis gateway is unhealthy.
  2  The command line or a setting is invalid: every error is listed, with its fix.

Signals:
  SIGHUP           Read the file of tokens, and the redis gateway's certificate and key, again.
  SIGTERM, SIGINT  Finish the requests in progress, within --drain-seconds, and end.

Output:
  The log, on standard output: one JSON object a line.

Examples:
  portcullis-redis-gateway --tokens-file tokens.toml --redis-url redis://127.0.0.1:6379
  portcullis-redis-gateway --config redis-gateway.toml
  portcullis-redis-gateway health --config redis-gateway.toml --ready
  portcullis-redis-gateway completions bash > /etc/bash_completion.d/portcullis-redis-gateway";
