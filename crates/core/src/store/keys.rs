//! Every key in the store, in one place. docs/storage.md lists the writers and readers of each key;
//! a test compares that page with [`StoreKeys::KINDS`].
//!
//! Names of subjects, sessions and tokens are hashed together with their issuer, because two
//! issuers may use the same name.

use crate::token_hash::TokenHash;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// The names of the store's keys, all under one prefix.
#[derive(Clone, Debug)]
pub struct StoreKeys {
    prefix: String,
}

impl StoreKeys {
    /// Each kind of key: the part of the name after the prefix.
    pub const KINDS: [&'static str; 22] = [
        "token:",
        "session:",
        "sessions:",
        "revoked:client:",
        "revoked:jti:",
        "revoked:sid:",
        "revoked:sub:",
        "limit:",
        "attempts:",
        "metrics:totals",
        "metrics:batches:",
        "refresh:",
        "reconciled:",
        "event:",
        "block:{kind}:",
        "block:address:",
        "block:networks",
        "quota:",
        "usage",
        "edges",
        "policy:",
        "refusals",
    ];

    /// The default prefix.
    pub const PREFIX: &'static str = "pc";

    /// Creates keys under `prefix`, 1 to 64 letters, digits, `-` and `_`.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Returns the key of an access token's record.
    pub fn token(&self, hash: &TokenHash) -> String {
        self.token_of(&hash.to_string())
    }

    /// Returns the key of an access token's record from the encoded hash.
    pub fn token_of(&self, hash: &str) -> String {
        format!("{}:token:{hash}", self.prefix)
    }

    /// Returns the key of a session.
    pub fn session(&self, issuer: &str, sid: &str) -> String {
        format!("{}:session:{}", self.prefix, digest(issuer, sid))
    }

    /// Returns the key of a subject's set of sessions.
    pub fn sessions(&self, issuer: &str, sub: &str) -> String {
        format!("{}:sessions:{}", self.prefix, digest(issuer, sub))
    }

    /// Returns the key of the marker that revokes a client's tokens up to a time.
    pub fn revoked_client(&self, issuer: &str, client: &str) -> String {
        format!("{}:revoked:client:{}", self.prefix, digest(issuer, client))
    }

    /// Returns the key of the marker that revokes one token.
    pub fn revoked_jti(&self, issuer: &str, jti: &str) -> String {
        format!("{}:revoked:jti:{}", self.prefix, digest(issuer, jti))
    }

    /// Returns the key of the marker that revokes all tokens of a session.
    pub fn revoked_sid(&self, issuer: &str, sid: &str) -> String {
        format!("{}:revoked:sid:{}", self.prefix, digest(issuer, sid))
    }

    /// Returns the key of the marker that revokes a subject's tokens up to a time.
    pub fn revoked_sub(&self, issuer: &str, sub: &str) -> String {
        format!("{}:revoked:sub:{}", self.prefix, digest(issuer, sub))
    }

    /// Returns the hash of what a limit counts.
    pub fn limit_hash(limit: &str, subject: &str) -> [u8; 32] {
        hash(limit, subject)
    }

    /// Returns the key of a limit's state for the hash of what it counts. `state` is the kind of
    /// the state: no algorithm reads that of another one.
    pub fn limit(&self, limit: &str, state: &str, hash: &[u8; 32]) -> String {
        format!("{}:limit:{limit}:{state}:{}", self.prefix, URL_SAFE_NO_PAD.encode(hash))
    }

    /// Returns the key of the totals of the edges' counters.
    pub fn metrics_totals(&self) -> String {
        format!("{}:metrics:totals", self.prefix)
    }

    /// Returns the key of the list of batches of counters. A Cluster keeps it in the slot of the
    /// totals, because the braces name what it hashes.
    pub fn metrics_batches(&self) -> String {
        format!("{0}:metrics:batches:{{{0}:metrics:totals}}", self.prefix)
    }

    /// Returns the key of a refresh token's lease, which its response replaces.
    pub fn refresh(&self, hash: &TokenHash) -> String {
        self.refresh_of(&hash.to_string())
    }

    /// Returns the key of a refresh token's lease from the encoded hash.
    pub fn refresh_of(&self, hash: &str) -> String {
        format!("{}:refresh:{hash}", self.prefix)
    }

    /// Returns the key of the family of a recently issued refresh token.
    pub fn refresh_family(&self, hash: &str) -> String {
        format!("{}:refresh:family:{hash}", self.prefix)
    }

    /// Returns the key of the marker that a family of refresh tokens was recently revoked.
    pub fn refresh_revoked(&self, family: &str) -> String {
        format!("{}:refresh_revoked:{family}", self.prefix)
    }

    /// Returns the key by which an auth service detects that the store lost data.
    pub fn reconciled(&self, auth: &str) -> String {
        format!("{}:reconciled:{auth}", self.prefix)
    }

    /// Returns the key of an event that an issuer pushed.
    pub fn event(&self, issuer: &str, jti: &str) -> String {
        format!("{}:event:{}", self.prefix, digest(issuer, jti))
    }

    /// Returns the key of the block of a subject, a client or an API key. `kind` says which.
    pub fn block(&self, kind: &str, issuer: &str, name: &str) -> String {
        format!("{}:block:{kind}:{}", self.prefix, digest(issuer, name))
    }

    /// Returns the key of the block of an address, in the form of [`crate::address_group`].
    pub fn block_address(&self, group: &str) -> String {
        self.block("address", "address", group)
    }

    /// Returns the key of the list of blocked networks.
    pub fn blocked_networks(&self) -> String {
        format!("{}:block:networks", self.prefix)
    }

    /// Returns the key of another quota for one caller, from the key of the limit's state. A
    /// Cluster keeps both in one slot, because the braces name what it hashes.
    pub fn quota(&self, limit_key: &str) -> String {
        format!("{}:quota:{{{limit_key}}}", self.prefix)
    }

    /// Returns the key of the list of batches of usage.
    pub fn usage(&self) -> String {
        format!("{}:usage", self.prefix)
    }

    /// Returns the key of the list of batches of usage that could not be read.
    pub fn usage_malformed(&self) -> String {
        format!("{}:usage:malformed", self.prefix)
    }

    /// Returns the key of the states of the edges' isolates.
    pub fn edges(&self) -> String {
        format!("{}:edges", self.prefix)
    }

    /// Returns the key of a policy that edges apply, by the hash of its document.
    pub fn policy(&self, hash: &str) -> String {
        format!("{}:policy:{hash}", self.prefix)
    }

    /// Returns the key of the list of the latest refusals.
    pub fn refusals(&self) -> String {
        format!("{}:refusals", self.prefix)
    }

    /// Returns the key of the login attempts of a username or an address. `kind` says which.
    pub fn attempts(&self, kind: &str, subject: &str) -> String {
        format!("{}:attempts:{kind}:{}", self.prefix, digest(kind, subject))
    }
}

/// A line break ends the realm. A realm can't contain one, so different pairs never give the same
/// text.
fn digest(realm: &str, name: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash(realm, name))
}

fn hash(realm: &str, name: &str) -> [u8; 32] {
    Sha256::new().chain_update(realm).chain_update("\n").chain_update(name).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const STORAGE: &str = include_str!("../../../../docs/storage.md");

    fn one_of_each() -> [String; 22] {
        let keys = StoreKeys::new(StoreKeys::PREFIX);
        [
            keys.token(&TokenHash::of("t")),
            keys.session("iss", "x"),
            keys.sessions("iss", "x"),
            keys.revoked_client("iss", "x"),
            keys.revoked_jti("iss", "x"),
            keys.revoked_sid("iss", "x"),
            keys.revoked_sub("iss", "x"),
            keys.limit("api", "bucket", &[0; 32]),
            keys.attempts("username", "x"),
            keys.metrics_totals(),
            keys.metrics_batches(),
            keys.refresh(&TokenHash::of("t")),
            keys.reconciled("x"),
            keys.event("iss", "x"),
            keys.block("subject", "iss", "x"),
            keys.block_address("192.0.2.1"),
            keys.blocked_networks(),
            keys.quota(&keys.limit("api", "bucket", &[0; 32])),
            keys.usage(),
            keys.edges(),
            keys.policy("x"),
            keys.refusals(),
        ]
    }

    #[test]
    fn each_kind_of_key_is_documented() {
        for (key, kind) in one_of_each().iter().zip(StoreKeys::KINDS) {
            let start = kind.replace("{kind}", "subject");
            assert!(key.starts_with(&format!("pc:{start}")), "{key}");
            assert!(STORAGE.contains(&format!("`pc:{kind}")), "docs/storage.md lacks pc:{kind}");
        }
        let documented = STORAGE.lines().filter(|line| line.starts_with("| `pc:")).count();
        assert_eq!(documented, StoreKeys::KINDS.len(), "docs/storage.md has rows for no key");
    }

    #[test]
    fn keys_differ_for_the_same_name_of_two_issuers() {
        let keys = StoreKeys::new("pc");
        assert_ne!(keys.session("a", "x"), keys.session("b", "x"));
        assert_ne!(keys.session("a", "x"), keys.session("a\nx", ""));
        assert!(!keys.sessions("a", "alice@example.org").contains("alice"));
    }
}
