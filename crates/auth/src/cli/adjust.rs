//! The commands about blocks, quotas and credits.

use crate::adjustments::{CallerPart, parse_duration};
use clap::{Args, Subcommand};

/// The target of a block.
#[derive(Args)]
#[group(skip)]
pub struct TargetOptions {
    /// A subject, which is a user's id for the users of this service.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub subject: Option<String>,
    /// A user of this service, by the name to log in with.
    #[arg(long, value_name = "NAME")]
    pub username: Option<String>,
    /// An OAuth client.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub client: Option<String>,
    /// An API key, by its id.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub key: Option<String>,
    /// An address, or a network such as 192.0.2.0/24. An IPv6 address stands for its /64.
    #[arg(long, value_name = "ADDRESS")]
    pub address: Option<String>,
    /// The issuer of the tokens of the subject, the client or the key. The default is this service.
    #[arg(long = "of-issuer", value_name = "ISSUER")]
    pub issuer: Option<String>,
}

/// A block.
#[derive(Args)]
pub struct BlockOptions {
    #[command(flatten)]
    pub target: TargetOptions,
    /// Why, for the audit and the list. At most 200 bytes.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// How long, such as 30s, 15m, 1h or 7d; at most 400d.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub seconds: u64,
}

/// A caller of a limit.
#[derive(Args)]
#[group(skip)]
pub struct CallerOptions {
    /// The limit's name in the edge's policy.
    #[arg(long, value_name = "NAME")]
    pub limit: String,
    /// A part of what the limit counts apart, and its value: subject=ID. Give one for each part of
    /// the limit's `by`, in the same order.
    #[arg(long, value_name = "PART=VALUE", value_parser = CallerPart::parse, required = true)]
    pub by: Vec<CallerPart>,
    /// The issuer of the caller's tokens. The default is this service.
    #[arg(long = "of-issuer", value_name = "ISSUER")]
    pub issuer: Option<String>,
}

/// A command about quotas.
#[derive(Subcommand)]
pub enum LimitAction {
    /// Clear the other quota of a caller, so that the limit's own applies again.
    Clear {
        #[command(flatten)]
        caller: CallerOptions,
    },
    /// List the other quotas that apply.
    List,
    /// Set another quota for a caller. The limit must have `overrides = true` in the policy.
    Set {
        #[command(flatten)]
        caller: CallerOptions,
        /// Requests per window or period, 1 to 1,000,000.
        #[arg(long, value_name = "REQUESTS")]
        quota: u64,
        /// How long, such as 30s, 15m, 1h or 7d; at most 400d.
        #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
        seconds: u64,
    },
}

/// A command about credits.
#[derive(Subcommand)]
pub enum CreditAction {
    /// Add credits to a caller's. The limit must have `algorithm = "credits"` in the policy.
    Add {
        #[command(flatten)]
        caller: CallerOptions,
        /// How many; below 0 to take some back.
        #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
        credits: i64,
        /// Names the grant, such as an invoice's number. A grant that is repeated with the same id
        /// counts once.
        #[arg(long)]
        id: Option<String>,
    },
    /// Show how many credits a caller was granted in all.
    Show {
        #[command(flatten)]
        caller: CallerOptions,
    },
}

#[cfg(test)]
mod tests {
    use crate::cli::{Action, Cli};
    use std::ffi::OsString;

    fn parse(line: &str) -> Result<Action, clap::Error> {
        let words = ["portcullis-auth"].into_iter().chain(line.split(' ')).map(OsString::from);
        Cli::parse_from(words).map(|cli| cli.action)
    }

    #[test]
    fn commands_are_parsed() {
        let line = "block --subject -Ab_9 --reason scraping --for 1h";
        let Ok(Action::Block(block)) = parse(line) else { panic!("another command") };
        assert_eq!((block.target.subject.as_deref(), block.seconds), (Some("-Ab_9"), 3600));
        let line = "limit set --limit api --by subject=a=b --by route=x --quota 500 --for 7d";
        let Ok(Action::Limit { action: super::LimitAction::Set { caller, .. } }) = parse(line)
        else {
            panic!("another command")
        };
        assert_eq!((caller.by[0].value.as_str(), caller.by[1].part.as_str()), ("a=b", "route"));
        let line = "credit add --limit calls --by subject=alice --credits -5 --id x";
        assert!(parse(line).is_ok());
        for bad in [
            "block --subject alice",
            "block --subject alice --for 0s",
            "block --subject alice --for 401d",
            "block --subject alice --for 1w",
            "block --subject alice --for h",
            "block --subject alice --for \u{fc}",
            "block --subject alice --for +1h",
            "limit set --limit api --quota 1 --for 1h",
            "limit set --limit api --by subject --quota 1 --for 1h",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
