//! Secrets, which are redacted in logs.

use sha2::{Digest as _, Sha256};
use std::fmt;

/// A credential of the edge itself.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// Returns the raw text, to be sent to the server that it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns whether a text is this secret. The time that it takes says nothing about the secret:
    /// the hashes are compared to their end.
    pub fn equals(&self, text: &str) -> bool {
        let [own, other] = [self.0.as_str(), text].map(Sha256::digest);
        own.iter().zip(other).fold(0, |differs, (own, other)| differs | (own ^ other)) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(REDACTED)")
    }
}
