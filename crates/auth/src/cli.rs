//! The command line.

mod adjust;
mod clients;
mod keys;
mod usage;
mod users;

pub use adjust::{BlockOptions, CallerOptions, CreditAction, LimitAction, TargetOptions};
pub use clients::{ClientAction, ClientSettings};
pub use keys::{KeyAction, KeyOwner, KeyTermsFlags};
pub use usage::UsageOptions;
pub use users::UserSettings;

use crate::config::{LISTENERS, SHARED, TABLE};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use portcullis_server::settings::{Setting, arguments, flags, secrets_help};
use portcullis_server::{CompletionOptions, HealthOptions};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

/// A parsed command line.
pub struct Cli {
    pub(crate) action: Action,
    /// The file of settings.
    pub(crate) file: Option<PathBuf>,
    /// The values of the settings' flags, by their variables.
    pub(crate) flags: BTreeMap<&'static str, String>,
}

impl Cli {
    /// Parses the command line of this process. Ends the process if it is invalid, or asks for
    /// help.
    pub fn parse() -> Self {
        Self::parse_from(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    pub(crate) fn parse_from(
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(arguments)?;
        let Arguments { file, action } = Arguments::from_arg_matches(&matches)?;
        let file = file.filter(|file| !file.is_empty()).map(PathBuf::from);
        Ok(Self { action, file, flags: flags(&TABLE, &matches) })
    }
}

/// Returns the command line's definition, with a flag for each setting.
pub(crate) fn command() -> clap::Command {
    let shared = arguments(&SHARED).map(|argument| argument.global(true));
    let is_shared = |setting: &Setting| SHARED.iter().any(|own| own.variable == setting.variable);
    let own: Vec<Setting> =
        TABLE.settings.iter().filter(|setting| !is_shared(setting)).copied().collect();
    let command = Arguments::command().args(shared);
    let command =
        command.after_long_help(format!("{}\n\n{AFTER_HELP}", secrets_help(TABLE.settings)));
    let command = command.mut_subcommand("health", |health| health.args(arguments(&LISTENERS)));
    command.mut_subcommand("serve", |serve| serve.args(arguments(&own)))
}

/// The auth service behind the edge: it logs in, issues, refreshes and revokes.
///
/// Each setting is taken from its flag, or else from the environment, or else from the file that
/// --config names, such as auth.toml. In the file it is the member of a section that its help
/// names: `[file: tokens.issuer]` is `issuer` in `[tokens]`. docs/auth.toml has them all.
///
/// Secrets have no flags, since every user of the machine can see a command line, and are not in
/// the file. Each is a variable, or in a file of its own, which the variable with `_FILE` at its
/// end or the file of settings names. Generate a key with a name by
/// `echo "k1:$(openssl rand -base64 32)"`.
#[derive(Parser)]
#[command(name = "portcullis-auth", version)]
struct Arguments {
    /// A TOML file of settings, such as auth.toml.
    #[arg(
        long = "config",
        env = "AUTH_CONFIG",
        global = true,
        value_name = "FILE",
        value_hint = clap::ValueHint::FilePath
    )]
    file: Option<String>,
    #[command(subcommand)]
    action: Action,
}

const AFTER_HELP: &str = "\
Exit status:
  0  The command did its work, or the server has ended after a signal.
  1  It failed: the log says why. For `health`: the server is unhealthy.
  2  The command line or a setting is invalid: every error is listed, with its fix.

Signals to `serve`:
  SIGHUP           Read the server's certificate and key again.
  SIGTERM, SIGINT  Finish the requests in progress, within --drain-seconds, and end.

Output:
  `serve` writes its log to standard output, one JSON object a line. The other commands print one
  JSON object for each result.

Examples:
  portcullis-auth serve --config auth.toml
  portcullis-auth user add --config auth.toml --username alice --scope \"orders:read\" < password
  portcullis-auth sessions revoke --config auth.toml --username alice
  portcullis-auth block --config auth.toml --username alice --reason scraping --for 1h
  portcullis-auth limit set --config auth.toml --limit api --by subject=reports --quota 500 --for 7d
  portcullis-auth health --config auth.toml --ready
  portcullis-auth completions bash > /etc/bash_completion.d/portcullis-auth";

/// A command.
#[derive(Subcommand)]
pub enum Action {
    /// Refuse the requests of a subject, a client, an API key, an address or a network for a while.
    Block(BlockOptions),
    /// List the blocks that apply.
    Blocks,
    /// Delete expired rows, and stop. `serve` does the same every 5 minutes.
    Cleanup,
    /// Manage the clients that get access tokens for themselves.
    Client {
        #[command(subcommand)]
        action: ClientAction,
    },
    /// Print the script by which a shell completes this command line.
    Completions(CompletionOptions),
    /// Manage the credits of single callers of a limit.
    Credit {
        #[command(subcommand)]
        action: CreditAction,
    },
    /// Check the server that runs on this machine with the same settings, as a container's health
    /// check does. Prints one line, and exits with 0 if it is healthy, 1 if it is not, 2 if the
    /// settings are invalid.
    Health(HealthOptions),
    /// Manage API keys.
    Key {
        #[command(subcommand)]
        action: KeyAction,
    },
    /// Manage the keys that sign tokens.
    Keys {
        #[command(subcommand)]
        action: KeysAction,
    },
    /// Manage other quotas for single callers of a limit.
    Limit {
        #[command(subcommand)]
        action: LimitAction,
    },
    /// Migrate the database's tables, and stop. With SQLite, every command does this first.
    Migrate,
    /// Write all live revocations to the store again, and stop. `serve` does this when it starts
    /// and when it detects that the store has lost data.
    Reconcile,
    /// Answer requests, until SIGTERM or SIGINT.
    Serve,
    /// Manage sessions.
    Sessions {
        #[command(subcommand)]
        action: SessionsAction,
    },
    /// Clear a block.
    Unblock(TargetOptions),
    /// Print how many requests were made, by caller, route or time.
    Usage(UsageOptions),
    /// Manage users.
    User {
        #[command(subcommand)]
        action: UserAction,
    },
}

/// A command about signing keys.
#[derive(Subcommand)]
pub enum KeysAction {
    /// List the keys, newest first, each with its role.
    List,
    /// Let the next key sign from now on. Running servers notice within 10 s; tokens of the
    /// previous key stay valid.
    Rotate {
        /// Withdraw all keys; running servers generate new ones within 10 s. Old tokens are
        /// rejected as soon as verifiers fetch the key set again (the edge's jwks.fresh_seconds),
        /// and refreshes return new ones.
        #[arg(long)]
        compromised: bool,
    },
}

/// A command about sessions.
#[derive(Subcommand)]
pub enum SessionsAction {
    /// List a user's active sessions, newest first.
    List {
        /// The name to log in with.
        #[arg(long)]
        username: String,
    },
    /// End one session, or all sessions of a user. Prints whether the store has the revocation yet.
    Revoke {
        /// The session's id, as `sessions list` shows it. It may begin with a hyphen.
        #[arg(
            long,
            allow_hyphen_values = true,
            conflicts_with = "username",
            required_unless_present = "username"
        )]
        session: Option<String>,
        /// All sessions of this user.
        #[arg(long)]
        username: Option<String>,
    },
}

/// A command about users.
#[derive(Subcommand)]
pub enum UserAction {
    /// Add a user; the password is read from standard input.
    Add {
        /// The name to log in with.
        #[arg(long)]
        username: String,
        /// The scope of the user's tokens, space-separated.
        #[arg(long, default_value = "")]
        scope: String,
    },
    /// Delete a user: end all their sessions, and erase their personal data. The audit keeps
    /// events under the user's id.
    Delete {
        /// The name to log in with.
        #[arg(long)]
        username: String,
    },
    /// Disable a user: end all their sessions, and reject their logins.
    Disable {
        /// The name to log in with.
        #[arg(long)]
        username: String,
    },
    /// Let a disabled user log in again.
    Enable {
        /// The name to log in with.
        #[arg(long)]
        username: String,
    },
    /// List the users, oldest first.
    List,
    /// Set a user's password, read from standard input, and end all their sessions.
    Passwd {
        /// The name to log in with.
        #[arg(long)]
        username: String,
    },
    /// Change a user's scope and claims. Tokens have them from the next refresh on.
    Set(UserSettings),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each command has the flags of the shared settings besides its own.
    #[test]
    fn no_command_has_two_flags_of_one_name() {
        command().debug_assert();
    }

    /// One in 64 random ids begins so.
    #[test]
    fn session_id_may_begin_with_a_hyphen() {
        let arguments = ["portcullis-auth", "sessions", "revoke", "--session", "-Ab_9"];
        let cli = Cli::parse_from(arguments.map(OsString::from)).ok().unwrap();
        let Action::Sessions { action: SessionsAction::Revoke { session, .. } } = cli.action else {
            panic!("another command");
        };
        assert_eq!(session.as_deref(), Some("-Ab_9"));
    }
}
