//! The tokens that a client receives.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A token response (RFC 6749 section 5.1).
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tokens {
    pub access_token: String,
    pub token_type: String,
    pub expires_in: u64,
    pub refresh_token: String,
    pub scope: String,
    /// The remaining life of the session, and of a cookie.
    #[serde(default, skip_serializing)]
    pub session_seconds: u64,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({:?}, REDACTED)", self.scope)
    }
}
