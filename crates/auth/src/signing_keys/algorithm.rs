//! The algorithms of signing keys.

use jsonwebtoken::Algorithm;
use std::str::FromStr;

/// The algorithm of a signing key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyAlgorithm {
    EdDsa,
    Es256,
}

impl KeyAlgorithm {
    /// Returns the name in a JWK, a token's header, the settings and the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }

    pub(super) fn jws(self) -> Algorithm {
        match self {
            Self::EdDsa => Algorithm::EdDSA,
            Self::Es256 => Algorithm::ES256,
        }
    }
}

impl FromStr for KeyAlgorithm {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::EdDsa, Self::Es256].into_iter().find(|own| own.name() == text).ok_or(())
    }
}
