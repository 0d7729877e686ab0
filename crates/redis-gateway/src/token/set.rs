//! The configured tokens.

use super::role::Role;
use crate::command::CommandSpec;
use redis_rest::Command;
use sha2::{Digest as _, Sha256};
use std::fmt;
use subtle::ConstantTimeEq as _;

/// All tokens that are valid at this moment.
pub struct Tokens(Vec<Token>);

impl Tokens {
    pub(super) fn new(tokens: Vec<Token>) -> Self {
        Self(tokens)
    }

    /// Returns the token of this secret. Compares with every token, each in constant time.
    pub fn find(&self, secret: &[u8]) -> Option<&Token> {
        let hash = Sha256::digest(secret);
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.hash.ct_eq(hash.as_slice())) {
                found = Some(token);
            }
        }
        found
    }

    /// Returns whether the token of this hash is still valid and passes the check `permits`.
    pub fn is_still_permitted(&self, hash: &[u8; 32], permits: impl Fn(&Token) -> bool) -> bool {
        self.0.iter().any(|token| token.hash == *hash && permits(token))
    }

    /// Returns the names of all tokens.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|token| token.name.as_str())
    }
}

/// One token. Only the SHA-256 of its secret is held.
pub struct Token {
    /// For logs and metrics.
    pub name: String,
    /// The SHA-256 of its secret.
    pub hash: [u8; 32],
    /// Which Redis deployment it is for.
    pub server: usize,
    pub(super) role: Role,
}

impl Token {
    /// Returns the error for a command that this token may not send; `None` if it may.
    pub fn refusal(&self, command: &Command, spec: Option<&CommandSpec>) -> Option<String> {
        self.role.refusal(command, spec)
    }

    /// Returns the error for a transaction that this token may not send; `None` if it may.
    ///
    /// Each command must also be permitted by itself.
    pub fn transaction_refusal(&self, commands: &[Command]) -> Option<String> {
        self.role.transaction_refusal(commands)
    }

    /// Returns whether the token may subscribe to these channels or patterns.
    ///
    /// `command` is SUBSCRIBE or PSUBSCRIBE.
    pub fn may_subscribe(&self, command: &str, channels: &[Vec<u8>]) -> bool {
        self.role.may_subscribe(command, channels)
    }

    /// Returns whether the token may see all commands of all clients, with their values.
    pub fn may_monitor(&self) -> bool {
        self.role.may_monitor()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({})", self.name)
    }
}
