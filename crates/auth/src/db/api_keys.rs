//! API keys: their rows, and the state that the store must have of each.

pub mod change;
pub mod create;
mod end;
pub mod queries;
pub mod usage;

use crate::custom_claims::CustomClaims;
use redis_rest::Command;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// The kind of a key's owner.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OwnerKind {
    Client,
    User,
}

impl OwnerKind {
    /// Returns the name in the database and in texts such as `user:ID`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::User => "user",
        }
    }
}

/// The owner of a key: a user or a client, by its id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Owner {
    pub kind: OwnerKind,
    pub id: String,
}

impl Owner {
    /// Returns the user with an id as an owner.
    pub fn user(id: &str) -> Self {
        Self { kind: OwnerKind::User, id: id.to_owned() }
    }

    /// Returns the client with an id as an owner.
    pub fn client(id: &str) -> Self {
        Self { kind: OwnerKind::Client, id: id.to_owned() }
    }

    /// Parses `user:ID` or `client:ID`. Returns `None` if the text is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, id) = text.split_once(':')?;
        let is_id = (1..=OWNER_BYTES_MAX).contains(&id.len()) && !id.contains(char::is_control);
        match kind {
            "client" if is_id => Some(Self::client(id)),
            "user" if is_id => Some(Self::user(id)),
            _ => None,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.id)
    }
}

/// What an owner gives to its keys.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OwnerState {
    /// A key has no scope beyond it.
    pub scope: String,
    /// The claims of the owner's tokens, such as `plan`.
    pub claims: Map<String, Value>,
    pub disabled: bool,
    /// The time up to which the owner's tokens are revoked. Keys are not: they have the owner's
    /// present scope and claims.
    pub tokens_revoked_at: Option<u64>,
}

/// Returns the claims that an owner's keys have: those of the owner's tokens.
fn owner_claims(claims: Option<String>, plan: Option<String>) -> Map<String, Value> {
    let mut claims = CustomClaims::decode(claims.as_deref()).members().clone();
    claims.extend(plan.map(|plan| ("plan".to_owned(), Value::from(plan))));
    claims
}

/// What a key may do, as its owner states it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KeySpec {
    pub name: String,
    /// The scope, space-separated.
    #[serde(default)]
    pub scope: String,
    /// The plan by which limits choose a quota; `None` for the owner's.
    #[serde(default)]
    pub plan: Option<String>,
    /// The key's own quotas, by the names of limits.
    #[serde(default)]
    pub quotas: BTreeMap<String, u32>,
    /// The networks from which the key may be used; empty for all.
    #[serde(default)]
    pub networks: Vec<String>,
    /// A JSON object for the upstream.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    #[serde(default)]
    pub expires_at: Option<u64>,
}

/// An API key, without its secrets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ApiKey {
    pub id: String,
    pub owner: Owner,
    pub spec: KeySpec,
    /// The first letters of the current secret, by which people recognise it.
    pub display_prefix: String,
    pub created_at: u64,
    pub revoked_at: Option<u64>,
    pub last_used_at: Option<u64>,
}

impl ApiKey {
    /// Returns whether the key is neither revoked nor expired.
    pub fn is_live(&self, now: u64) -> bool {
        self.revoked_at.is_none() && self.spec.expires_at.is_none_or(|at| at > now)
    }
}

/// One secret of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeySecret {
    pub hash: String,
    /// When the secret ends or ended; `None` for the current one.
    pub ends_at: Option<u64>,
}

/// Everything that decides what the store must have of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyState {
    pub key: ApiKey,
    /// The secrets that the store may have records of, oldest first.
    pub secrets: Vec<KeySecret>,
    /// `None` if the owner does not exist.
    pub owner: Option<OwnerState>,
}

impl KeyState {
    /// Returns whether the store must have the same of both. The last use is not in the store.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let key = ApiKey { last_used_at: other.key.last_used_at, ..self.key.clone() };
        key == other.key && self.secrets == other.secrets && self.owner == other.owner
    }

    /// Returns when the secret before the current one ends, while both are valid.
    pub fn previous_until(&self, now: u64) -> Option<u64> {
        self.secrets.iter().filter_map(|secret| secret.ends_at).filter(|at| *at > now).max()
    }
}

/// Returns the commands that give the store the state of a key.
pub type KeyCommands<'a> = &'a (dyn Fn(&KeyState) -> Vec<Command> + Sync);

/// The longest life of a key's record in the store. After it, the key is introspected, and its
/// record is written again.
pub const KEY_RECORD_SECONDS: u64 = 7 * 86_400;
/// How long the rows of a secret that has ended, and of a revoked key, are kept: longer than a
/// record of them may remain in the store.
pub const KEY_RETENTION_SECONDS: u64 = KEY_RECORD_SECONDS + 86_400;

const OWNER_BYTES_MAX: usize = 256;
