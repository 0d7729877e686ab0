//! The commands about clients.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// A command about clients that get access tokens for themselves (RFC 6749 section 4.4).
#[derive(Subcommand)]
pub enum ClientAction {
    /// Add a client. Prints its id, and its secret, which nothing shows again.
    Create {
        /// A name for people.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        settings: ClientSettings,
        /// A file with the client's public keys (RFC 7517), by which it signs assertions
        /// (RFC 7523). It then has no secret.
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        jwks: Option<PathBuf>,
    },
    /// Delete a client and revoke its tokens.
    Delete(ClientId),
    /// Disable a client: it gets no tokens, and those that it has are revoked.
    Disable(ClientId),
    /// Let a disabled client get tokens again. Its earlier tokens stay revoked.
    Enable(ClientId),
    /// List the clients, oldest first.
    List,
    /// Give a client a new secret, and print it. The old one works until the grace ends.
    Roll {
        #[command(flatten)]
        client: ClientId,
        /// How long the old secret works, in seconds: 0 to 2592000.
        #[arg(long, default_value_t = 86_400, value_name = "SECONDS")]
        grace_seconds: u64,
    },
    /// Change a client's settings. Its next token has them.
    Set {
        #[command(flatten)]
        client: ClientId,
        /// A name for people.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        settings: ClientSettings,
        /// A claim to remove.
        #[arg(long, value_name = "NAME")]
        remove_claim: Vec<String>,
        /// A file with the client's public keys, which replace the present ones.
        #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        jwks: Option<PathBuf>,
        /// Revoke the tokens that were issued before.
        #[arg(long)]
        now: bool,
    },
}

/// The client of a command.
#[derive(Args)]
pub struct ClientId {
    /// The client's id, as `client list` shows it.
    #[arg(long = "client", value_name = "ID")]
    pub id: String,
}

/// The settings that a command may give a client.
#[derive(Args)]
pub struct ClientSettings {
    /// The widest scope of the client's tokens, space-separated.
    #[arg(long)]
    pub scope: Option<String>,
    /// The life of the client's tokens, in seconds: 1 to 86400.
    #[arg(long, value_name = "SECONDS")]
    pub token_seconds: Option<u64>,
    /// The claim `plan` of the client's tokens.
    #[arg(long)]
    pub plan: Option<String>,
    /// A custom claim of the client's tokens: name=value. The value is JSON, or else a text.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
}
