//! Revokes a family of refresh tokens.

use super::presented::{Presented, Purpose};
use crate::request::head::RequestHead;
use crate::store::keys::StoreKeys;
use crate::token_hash::TokenHash;
use redis_rest::Command;

/// One request that revokes a refresh token.
#[derive(Debug)]
pub struct Revocation {
    hash: String,
}

impl Revocation {
    /// Reads the revocation in a request (RFC 7009 section 2.1). Returns `None` if it presents no
    /// refresh token.
    pub fn read(head: &RequestHead<'_>, body: &str) -> Option<Self> {
        let presented = Presented::find(head, body, Purpose::Revocation)?;
        Some(Self { hash: TokenHash::of(&presented.token).to_string() })
    }

    /// Returns the command that fetches the token's family.
    pub fn family_query(&self, keys: &StoreKeys) -> Command {
        Command::new("GET").arg(keys.refresh_family(&self.hash))
    }

    /// Returns the commands that mark the token and its family as revoked, for as long as any of
    /// their responses could be replayed.
    pub fn mark(&self, family: Option<&str>, seconds: u64, keys: &StoreKeys) -> Vec<Command> {
        let mark = |hash: &str| {
            Command::new("SET").arg(keys.refresh_revoked(hash)).arg(1).arg("EX").arg(seconds)
        };
        [Some(self.hash.as_str()), family].into_iter().flatten().map(mark).collect()
    }
}
