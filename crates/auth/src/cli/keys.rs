//! The commands about API keys.

use clap::{Args, Subcommand};

/// A command about API keys.
#[derive(Subcommand)]
pub enum KeyAction {
    /// Create an API key, and print it. No program shows it again.
    Create {
        #[command(flatten)]
        owner: KeyOwner,
        #[command(flatten)]
        terms: KeyTermsFlags,
    },
    /// List the keys that are not revoked, in the order of their creation.
    List {
        #[command(flatten)]
        owner: KeyOwner,
    },
    /// Revoke one key, or all keys of a user or client. Takes effect with the next request.
    Revoke {
        /// The key's id, as `key list` shows it. It may begin with a hyphen.
        #[arg(
            long,
            allow_hyphen_values = true,
            conflicts_with_all = ["username", "client"],
            required_unless_present_any = ["username", "client"]
        )]
        id: Option<String>,
        #[command(flatten)]
        owner: KeyOwner,
    },
    /// Replace a key by another one, and print it. Both work until the grace period ends.
    Roll {
        /// The key's id, as `key list` shows it. It may begin with a hyphen.
        #[arg(long, allow_hyphen_values = true)]
        id: String,
        /// How long the replaced key works, in seconds, at most 2592000 (30 days).
        #[arg(long, default_value_t = crate::api_keys::GRACE_SECONDS_DEFAULT)]
        grace_seconds: u64,
    },
}

/// The owner of keys.
#[derive(Args)]
pub struct KeyOwner {
    /// Keys of the user with this name.
    #[arg(long, conflicts_with = "client")]
    pub username: Option<String>,
    /// Keys of the client with this id.
    #[arg(long)]
    pub client: Option<String>,
}

/// What a new key may do.
#[derive(Args)]
pub struct KeyTermsFlags {
    /// What the key is for: 1 to 200 bytes.
    #[arg(long)]
    pub name: String,
    /// The key's scope, space-separated: a part of its owner's.
    #[arg(long, default_value = "")]
    pub scope: String,
    /// The plan by which limits choose a quota, in place of the owner's.
    #[arg(long)]
    pub plan: Option<String>,
    /// An address or network from which the key works. May be repeated; without it all do.
    #[arg(long = "network", value_name = "NETWORK")]
    pub networks: Vec<String>,
    /// A quota of the key's own for a limit. May be repeated.
    #[arg(long = "quota", value_name = "LIMIT=NUMBER")]
    pub quotas: Vec<String>,
    /// The key's life in days; without it the key does not expire.
    #[arg(long, value_name = "DAYS")]
    pub expires_in: Option<u32>,
    /// A JSON object for the upstream.
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<String>,
}
