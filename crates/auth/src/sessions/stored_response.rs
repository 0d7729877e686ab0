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
    /// The session's scope at that time; `None` if it was an earlier version's.
    #[serde(default)]
    granted: Option<String>,
}

impl StoredResponse {
    /// Creates the stored form of a response.
    pub fn new(tokens: &Tokens, granted: &str, now: UnixSeconds) -> Self {
        Self { tokens: tokens.clone(), at: now.0, granted: Some(granted.to_owned()) }
    }

    /// Encodes the response as JSON.
    pub fn encode(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Decodes a response, with the session's remaining life as of `now`, and the scope that could
    /// be granted. Returns `None` if `text` is malformed.
    pub fn decode(text: &str, session: &Session, now: UnixSeconds) -> Option<(Tokens, String)> {
        let mut stored: Self = serde_json::from_str(text).ok()?;
        stored.tokens.session_seconds = session.expires_at.saturating_sub(now.0);
        Some((stored.tokens, stored.granted.unwrap_or_else(|| session.scope.clone())))
    }
}
