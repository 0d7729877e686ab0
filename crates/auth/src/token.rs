//! Tokens: the claims of access tokens (RFC 9068), and opaque tokens of 256 random bits. An opaque
//! token has a checksum, so that malformed ones are rejected without a query.

use crate::problem::Problem;
use crate::random::fill_random;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::TokenHash;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The longest configurable life of an access token. Revocation markers live as long.
pub const ACCESS_TOKEN_SECONDS_MAX: u64 = 86_400;

/// The claims of an access token (RFC 9068 section 2.2).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct AccessClaims {
    pub iss: String,
    pub sub: String,
    pub aud: String,
    pub exp: u64,
    pub iat: u64,
    pub jti: String,
    /// The session; `None` in the token of a client that acts for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    pub client_id: String,
    pub scope: String,
    /// Other claims, such as a user's plan.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

impl AccessClaims {
    /// Returns the session.
    ///
    /// # Errors
    ///
    /// [`Problem::AccessTokenInvalid`] for the token of a client, which has none.
    pub fn session(&self) -> Result<&str, Problem> {
        self.sid.as_deref().ok_or(Problem::AccessTokenInvalid)
    }
}

/// The kind of an opaque token. Each kind has its own prefix, by which secret scanners find leaked
/// tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OpaqueToken {
    Access,
    /// The secret of a client.
    ClientSecret,
    /// The cookie of a session in the console.
    Console,
    Refresh,
}

impl OpaqueToken {
    fn prefix(self) -> &'static str {
        match self {
            Self::Access => "pca_",
            Self::ClientSecret => "pcs_",
            Self::Console => "pcc_",
            Self::Refresh => "pcr_",
        }
    }

    /// Generates a token: the prefix, 256 random bits and a checksum of both.
    pub fn generate(self) -> String {
        let mut bytes = [0; 32];
        fill_random(&mut bytes);
        let text = format!("{}{}", self.prefix(), URL_SAFE_NO_PAD.encode(bytes));
        let sum = checksum(&text);
        text + &sum
    }

    /// Returns whether `token` has the prefix, length and checksum of this kind. Other texts were
    /// never issued, so rejecting them needs no query.
    pub fn is_well_formed(self, token: &str) -> bool {
        let text =
            token.len().checked_sub(CHECKSUM_LENGTH).and_then(|end| token.split_at_checked(end));
        text.is_some_and(|(text, sum)| {
            text.len() == TEXT_LENGTH && text.starts_with(self.prefix()) && checksum(text) == sum
        })
    }
}

/// Returns 30 bits as five letters of base64url. They detect typing errors, not forgeries.
fn checksum(text: &str) -> String {
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(text));
    hash.get(..CHECKSUM_LENGTH).unwrap_or_default().to_owned()
}

const CHECKSUM_LENGTH: usize = 5;
/// The prefix, and 32 bytes in base64url.
const TEXT_LENGTH: usize = 4 + 43;

/// Returns the hash under which a token is stored. The token itself is never stored.
pub fn token_hash(token: &str) -> String {
    TokenHash::of(token).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_token_is_well_formed_only_as_its_own_kind() {
        for kind in [
            OpaqueToken::Access,
            OpaqueToken::ClientSecret,
            OpaqueToken::Console,
            OpaqueToken::Refresh,
        ] {
            let token = kind.generate();
            assert_eq!(token.len(), 52);
            assert!(kind.is_well_formed(&token) && token != kind.generate());
            for place in 0..token.len() {
                let mut bytes = token.clone().into_bytes();
                bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
                assert!(!kind.is_well_formed(std::str::from_utf8(&bytes).unwrap()), "{place}");
            }
            for bad in ["", "pcr_", "é", &token[1..], &token[..51], &format!("{token}A")] {
                assert!(!kind.is_well_formed(bad), "{bad}");
            }
        }
        assert!(!OpaqueToken::Access.is_well_formed(&OpaqueToken::Refresh.generate()));
    }
}
