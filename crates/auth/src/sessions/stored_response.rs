//! Token responses as the database stores them for the grace period.

use super::tokens::Tokens;
use crate::db::Session;
use portcullis_core::UnixSeconds;
use serde::{Deserialize, Serialize};

/// A token response, and when it was sent.
#[derive(Deserialize, Serialize)]
pub struct StoredResponse {
    tokens: Tokens,
    at: u64,
}

impl StoredResponse {
    /// Creates the stored form of a response.
    pub fn new(tokens: &Tokens, now: UnixSeconds) -> Self {
        Self { tokens: tokens.clone(), at: now.0 }
    }

    /// Encodes the response as JSON.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Decodes a response, with the session's remaining life as of `now`. Returns `None` if `text`
    /// is malformed.
    pub fn decode(text: &str, session: &Session, now: UnixSeconds) -> Option<Tokens> {
        let mut stored: Self = serde_json::from_str(text).ok()?;
        stored.tokens.session_seconds = session.expires_at.saturating_sub(now.0);
        Some(stored.tokens)
    }
}
