//! Where a token comes from, and what may be done with it before anybody vouches for it.

use crate::denial::Denial;
use crate::head::Head;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// A raw bearer token. It is never a key, a value or a log line; [`Token::hash`] is.
#[derive(Clone, Copy)]
pub struct Token<'a>(&'a str);

impl<'a> Token<'a> {
    /// The token of the request's one `Authorization: Bearer` header (RFC 6750 section 2.1).
    pub fn from_head(head: &Head<'a>) -> Result<Self, Denial> {
        let value = head.header("authorization").ok_or(Denial::TokenMissing)?;
        let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Denial::TokenMissing);
        }
        let token = token.trim_matches(' ');
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX || !is_b64token(token) {
            return Err(Denial::CredentialMalformed);
        }
        Ok(Self(token))
    }

    /// The token's SHA-256.
    pub fn hash(self) -> TokenHash {
        TokenHash::of(self.0)
    }

    /// The raw text, to be parsed or hashed.
    pub(crate) fn expose(self) -> &'a str {
        self.0
    }

    #[cfg(test)]
    pub(crate) fn new(text: &'a str) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(REDACTED)")
    }
}

/// The SHA-256 of a token, which stands for it in the store and in memory.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a raw token.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

/// The b64token syntax of RFC 6750, which also rules out a second credential behind a comma.
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

/// Longest token that is looked at. Cloudflare bounds all header fields together at 128 KB.
const TOKEN_BYTES_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_bearer_token_is_found() {
        fn check(value: Option<&str>, expect: Result<&str, Denial>) {
            let headers = value.map(|value| ("authorization", value)).into_iter().collect();
            let head = Head::new("GET", "https://a.example/", headers);
            let got = Token::from_head(&head).map(|token| token.0.to_owned());
            assert_eq!(got.as_deref().map_err(|e| *e), expect, "{value:?}");
        }
        check(Some("Bearer abc.def-_~+/=="), Ok("abc.def-_~+/=="));
        check(Some("bearer abc"), Ok("abc"));
        check(Some("BEARER  abc "), Ok("abc"));
        check(None, Err(Denial::TokenMissing));
        check(Some(""), Err(Denial::TokenMissing));
        check(Some("Basic dTpw"), Err(Denial::TokenMissing));
        check(Some("Bearerabc"), Err(Denial::TokenMissing));
        check(Some("Bearer"), Err(Denial::CredentialMalformed));
        check(Some("Bearer "), Err(Denial::CredentialMalformed));
        check(Some("Bearer a b"), Err(Denial::CredentialMalformed));
        check(Some("Bearer a, Bearer b"), Err(Denial::CredentialMalformed));
        check(Some("Bearer =="), Err(Denial::CredentialMalformed));
        check(Some("Bearer a=b"), Err(Denial::CredentialMalformed));
        check(Some("Bearer a\u{e9}"), Err(Denial::CredentialMalformed));
        let longest = "a".repeat(TOKEN_BYTES_MAX);
        check(Some(&format!("Bearer {longest}")), Ok(&longest));
        check(Some(&format!("Bearer {longest}a")), Err(Denial::CredentialMalformed));
    }

    #[test]
    fn a_token_does_not_show_itself() {
        assert_eq!(format!("{:?}", Token::new("secret")), "Token(REDACTED)");
        assert_eq!(TokenHash::of("abc").to_string(), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
    }
}
