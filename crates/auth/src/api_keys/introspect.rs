//! The introspection of API keys (RFC 7662).

use super::secret::is_api_key;
use super::service::ApiKeys;
use crate::db::{EACH_SECONDS, KeyState};
use crate::problem::Problem;
use crate::steps::database;
use crate::token::token_hash;
use portcullis_core::{KeyTerms, TokenRecord, UnixSeconds};
use serde_json::{Map, Value};
use std::sync::{Arc, PoisonError};
use tracing::Instrument as _;

impl ApiKeys {
    /// Returns the claims of a valid key; `None` if it is malformed, unknown, expired or revoked,
    /// or its owner is disabled. The store may lack the key's record, which is then written again.
    pub async fn introspect(
        &self,
        secret: &str,
        now: UnixSeconds,
    ) -> Result<Option<Map<String, Value>>, Problem> {
        if !is_api_key(secret) {
            return Ok(None);
        }
        let hash = token_hash(secret);
        let state = self.db.key_by_hash(&hash, now).instrument(database("key_by_hash")).await?;
        let Some(state) = state else { return Ok(None) };
        let commands = self.publisher.commands();
        let settings = commands.records().ok_or(Problem::Internal)?;
        let secret = state.secrets.iter().find(|secret| secret.hash == hash);
        let record =
            secret.and_then(|secret| commands.key_record(&state, secret, &settings.audience, now));
        let Some(record) = record else { return Ok(None) };
        let claims = claims(record, commands.issuer());
        self.note_use(&state, now);
        self.publisher.settle_soon(state, now);
        Ok(Some(claims))
    }

    /// Records the use of a key in the background, at most once a minute. One task records the use
    /// of a key at a time, so that a slow database gets no more of them.
    fn note_use(&self, state: &KeyState, now: UnixSeconds) {
        let is_recent = |at: u64| now.0 < at.saturating_add(EACH_SECONDS);
        if state.key.last_used_at.is_some_and(is_recent) {
            return;
        }
        let (db, id) = (Arc::clone(&self.db), state.key.id.clone());
        let recording = Arc::clone(&self.recording);
        {
            let mut recording = recording.lock().unwrap_or_else(PoisonError::into_inner);
            if recording.len() >= RECORDING_MAX || !recording.insert(id.clone()) {
                return;
            }
        }
        tokio::spawn(async move {
            if let Err(error) = db.record_key_use(&[(&id, now.0)]).await {
                tracing::warn!(event = "key_use_not_recorded", %error);
            }
            recording.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        });
    }
}

/// Returns the claims that a record states, by their top-level names.
fn claims(record: TokenRecord, issuer: &str) -> Map<String, Value> {
    let mut claims = record.others;
    let members = [
        ("iss", Some(Value::from(issuer))),
        ("sub", Some(Value::from(record.sub))),
        ("aud", record.aud.map(Value::from)),
        ("client_id", record.client_id.map(Value::from)),
        ("scope", Some(Value::from(record.scope))),
        ("iat", record.iat.map(Value::from)),
        ("exp", record.exp.map(Value::from)),
        ("jti", record.jti.map(Value::from)),
        ("key", record.key.as_ref().map(KeyTerms::value)),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value);
        }
    }
    claims
}

/// The most keys whose use is recorded in the background at once. Further uses are recorded by
/// later introspections.
const RECORDING_MAX: usize = 64;
