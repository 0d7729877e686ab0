//! Tokens: the claims of access tokens as RFC 9068 has them, and opaque tokens of 256 random bits whose form can be
//! checked without asking anybody.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The claims of an access token (RFC 9068 section 2.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccessClaims {
    pub iss: String,
    pub sub: String,
    pub aud: String,
    pub exp: u64,
    pub iat: u64,
    pub jti: String,
    pub sid: String,
    pub client_id: String,
    pub scope: String,
}

/// What an opaque token is, as its prefix says; a search for leaked secrets finds it by that.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opaque {
    Access,
    Refresh,
}

impl Opaque {
    fn prefix(self) -> &'static str {
        match self {
            Self::Access => "pca_",
            Self::Refresh => "pcr_",
        }
    }

    /// A new token: the prefix, 256 random bits and the checksum of both.
    pub fn draw(self) -> String {
        let mut bytes = [0; 32];
        fill_random(&mut bytes);
        let text = format!("{}{}", self.prefix(), URL_SAFE_NO_PAD.encode(bytes));
        let sum = checksum(&text);
        text + &sum
    }

    /// Whether `token` has the form of one. What has not was never given to anybody, and costs no query.
    pub fn is_form_of(self, token: &str) -> bool {
        let text = token.len().checked_sub(SUM_LENGTH).and_then(|end| token.split_at_checked(end));
        text.is_some_and(|(text, sum)| {
            text.len() == TEXT_LENGTH && text.starts_with(self.prefix()) && checksum(text) == sum
        })
    }
}

/// 30 bits, as five letters of base64url: against slips, not against anybody.
fn checksum(text: &str) -> String {
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(text));
    hash.get(..SUM_LENGTH).unwrap_or_default().to_owned()
}

const SUM_LENGTH: usize = 5;
const TEXT_LENGTH: usize = 4 + 43;

/// 128 random bits as base64url: a name that nobody else will have.
pub fn random_name() -> String {
    let mut bytes = [0; 16];
    fill_random(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// 96 random bits, for a seal.
pub fn nonce() -> [u8; 12] {
    let mut nonce = [0; 12];
    fill_random(&mut nonce);
    nonce
}

/// Fills `bytes` from the system's source. A service that can't draw randomness must not go on.
pub fn fill_random(bytes: &mut [u8]) {
    if aws_lc_rs::rand::fill(bytes).is_err() {
        tracing::error!(event = "stopped", error = "the system's source of randomness fails");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_form() {
        for kind in [Opaque::Access, Opaque::Refresh] {
            let token = kind.draw();
            assert_eq!(token.len(), 52);
            assert!(kind.is_form_of(&token) && token != kind.draw());
            for place in 0..token.len() {
                let mut bytes = token.clone().into_bytes();
                bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
                assert!(!kind.is_form_of(std::str::from_utf8(&bytes).unwrap()), "{place}");
            }
            for bad in ["", "pcr_", "é", &token[1..], &token[..51], &format!("{token}A")] {
                assert!(!kind.is_form_of(bad), "{bad}");
            }
        }
        assert!(!Opaque::Access.is_form_of(&Opaque::Refresh.draw()));
    }
}
