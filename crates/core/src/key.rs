//! Every key in the store, in one place. docs/storage.md says who writes and who reads each; a test
//! holds that page against [`StoreKeys::KINDS`].
//!
//! What names a person, a session or a token is hashed, together with the issuer that gave the name:
//! two issuers may use the same subject.

use crate::credential::TokenHash;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// Makes the store's keys, all under one prefix.
#[derive(Clone, Debug)]
pub struct StoreKeys {
    prefix: String,
}

impl StoreKeys {
    /// Each kind of key, as it follows the prefix.
    pub const KINDS: [&'static str; 12] = [
        "token:",
        "session:",
        "sessions:",
        "revoked:client:",
        "revoked:jti:",
        "revoked:sid:",
        "revoked:sub:",
        "limit:",
        "attempts:",
        "metrics",
        "refresh:",
        "reconciled:",
    ];

    /// The prefix that is used where none is configured.
    pub const PREFIX: &'static str = "pc";

    /// Keys under `prefix`, without its colon.
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The record of an access token.
    pub fn token(&self, hash: &TokenHash) -> String {
        self.token_of(&hash.to_string())
    }

    /// The record of an access token whose hash is known in writing.
    pub fn token_of(&self, hash: &str) -> String {
        format!("{}:token:{hash}", self.prefix)
    }

    /// A session.
    pub fn session(&self, issuer: &str, sid: &str) -> String {
        format!("{}:session:{}", self.prefix, digest(issuer, sid))
    }

    /// The sessions of a subject.
    pub fn sessions(&self, issuer: &str, sub: &str) -> String {
        format!("{}:sessions:{}", self.prefix, digest(issuer, sub))
    }

    /// The marker that a client's tokens are revoked up to a moment.
    pub fn revoked_client(&self, issuer: &str, client: &str) -> String {
        format!("{}:revoked:client:{}", self.prefix, digest(issuer, client))
    }

    /// The marker that one token is revoked.
    pub fn revoked_jti(&self, issuer: &str, jti: &str) -> String {
        format!("{}:revoked:jti:{}", self.prefix, digest(issuer, jti))
    }

    /// The marker that all tokens of a session are revoked.
    pub fn revoked_sid(&self, issuer: &str, sid: &str) -> String {
        format!("{}:revoked:sid:{}", self.prefix, digest(issuer, sid))
    }

    /// The marker that a subject's tokens are revoked up to a moment.
    pub fn revoked_sub(&self, issuer: &str, sub: &str) -> String {
        format!("{}:revoked:sub:{}", self.prefix, digest(issuer, sub))
    }

    /// The state of a limit for one `who`, which is hashed; and the hash.
    pub fn limit(&self, limit: &str, who: &str) -> (String, [u8; 32]) {
        let hash = hash(limit, who);
        (format!("{}:limit:{limit}:{}", self.prefix, URL_SAFE_NO_PAD.encode(hash)), hash)
    }

    /// What the edges have counted.
    pub fn metrics(&self) -> String {
        format!("{}:metrics", self.prefix)
    }

    /// A refresh under way, and then its answer, by the hash of the refresh token.
    pub fn refresh(&self, hash: &TokenHash) -> String {
        self.refresh_of(&hash.to_string())
    }

    /// The same, where the hash is known in writing.
    pub fn refresh_of(&self, hash: &str) -> String {
        format!("{}:refresh:{hash}", self.prefix)
    }

    /// The family of a refresh token that a refresh gave a moment ago.
    pub fn refresh_family(&self, hash: &str) -> String {
        format!("{}:refresh:family:{hash}", self.prefix)
    }

    /// The marker that a family of refresh tokens was revoked a moment ago.
    pub fn refresh_revoked(&self, family: &str) -> String {
        format!("{}:refresh:revoked:{family}", self.prefix)
    }

    /// The sign of one auth service that the store still has what it was told.
    pub fn reconciled(&self, auth: &str) -> String {
        format!("{}:reconciled:{auth}", self.prefix)
    }

    /// The attempts to log in by one `who` of a kind: a username, or an address.
    pub fn attempts(&self, kind: &str, who: &str) -> String {
        format!("{}:attempts:{kind}:{}", self.prefix, digest(kind, who))
    }
}

/// A line break ends the realm, which can't hold one, so no two pairs run into the same text.
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

    const STORAGE: &str = include_str!("../../../docs/storage.md");

    fn one_of_each() -> [String; 12] {
        let keys = StoreKeys::new(StoreKeys::PREFIX);
        [
            keys.token(&TokenHash::of("t")),
            keys.session("iss", "x"),
            keys.sessions("iss", "x"),
            keys.revoked_client("iss", "x"),
            keys.revoked_jti("iss", "x"),
            keys.revoked_sid("iss", "x"),
            keys.revoked_sub("iss", "x"),
            keys.limit("api", "x").0,
            keys.attempts("username", "x"),
            keys.metrics(),
            keys.refresh(&TokenHash::of("t")),
            keys.reconciled("x"),
        ]
    }

    #[test]
    fn every_kind_of_key_is_documented() {
        for (key, kind) in one_of_each().iter().zip(StoreKeys::KINDS) {
            assert!(key.starts_with(&format!("pc:{kind}")), "{key}");
            assert!(STORAGE.contains(&format!("`pc:{kind}")), "docs/storage.md lacks pc:{kind}");
        }
        let documented = STORAGE.lines().filter(|line| line.starts_with("| `pc:")).count();
        assert_eq!(documented, StoreKeys::KINDS.len(), "docs/storage.md has rows for no key");
    }

    #[test]
    fn names_of_two_issuers_do_not_meet() {
        let keys = StoreKeys::new("pc");
        assert_ne!(keys.session("a", "x"), keys.session("b", "x"));
        assert_ne!(keys.session("a", "x"), keys.session("a\nx", ""));
        assert!(!keys.sessions("a", "alice@example.org").contains("alice"));
    }
}
