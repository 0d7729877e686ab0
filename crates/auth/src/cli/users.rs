//! The arguments of commands about users.

use clap::Args;

/// A change of a user's scope and claims.
#[derive(Args)]
pub struct UserSettings {
    /// The name to log in with.
    #[arg(long)]
    pub username: String,
    /// The scope of the user's tokens, space-separated.
    #[arg(long)]
    pub scope: Option<String>,
    /// A custom claim of the user's tokens: name=value. The value is JSON, or else a text.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    pub claims: Vec<String>,
    /// A claim to remove.
    #[arg(long, value_name = "NAME")]
    pub remove_claim: Vec<String>,
    /// Revoke the access tokens that were issued before. Sessions go on: their next refresh
    /// returns tokens with the new scope and claims.
    #[arg(long)]
    pub now: bool,
}
