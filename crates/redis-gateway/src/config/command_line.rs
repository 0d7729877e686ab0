//! The command line.

use super::table::{ALL, LISTENERS, TABLE};
use clap::{Arg, Args as _, Command, FromArgMatches as _};
use portcullis_server::HealthOptions;
use portcullis_server::settings::{arguments, flags};
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
            Some((HEALTH, matches)) => Action::Health(HealthOptions::from_arg_matches(matches)?),
            _ => Action::Serve,
        };
        Ok(Self { action, flags: flags(&TABLE, &matches), file })
    }
}

/// Returns the command line's definition, with a flag for each setting.
pub(super) fn command() -> Command {
    let file = Arg::new(TABLE.file_variable).long("config").env(TABLE.file_variable);
    let file = file.value_name("FILE").help("A TOML file of settings, such as redis-gateway.toml");
    let file = file.global(true);
    let health = HealthOptions::augment_args(Command::new(HEALTH).about(HEALTH_HELP));
    let health = health.args(arguments(&LISTENERS));
    let about = "Serves the Upstash REST protocol in front of any Redis.";
    let command = Command::new("portcullis-redis-gateway").version(env!("CARGO_PKG_VERSION"));
    let command = command.about(about).long_about(format!("{about}\n\n{HELP}"));
    command.arg(file).args(arguments(ALL)).subcommand(health)
}

const HEALTH: &str = "health";
const HEALTH_HELP: &str = "\
Check the redis gateway that runs on this machine with the same settings, as a container's health check \
does. Prints one line, and exits with 0 if it is healthy, 1 if it is not, 2 if the settings are invalid";

const HELP: &str = "\
Each setting is taken from its flag, or else from the environment, or else from the file that --config \
names. In the file it is the member of a section that its help names: [file: redis.url] is `url` in \
[redis]. docs/redis-gateway.toml has them all.

Secrets have no flags, because other users of the machine can see command lines, and are not in the \
file. GATEWAY_TOKENS is a comma-separated list of name=token (or name:read=token for read-only access), \
each token at least 32 characters; tokens with other roles are in the file that GATEWAY_TOKENS_FILE \
names. REDIS_SENTINEL_PASSWORD, or the file that REDIS_SENTINEL_PASSWORD_FILE names, has the password of \
the Sentinels. Set a REDIS_URL with a password in the environment, too. SIGHUP reloads the token file \
and the redis gateway's own certificate.";
