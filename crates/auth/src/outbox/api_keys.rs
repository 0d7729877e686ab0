//! What the store must have of API keys.

use super::commands::StoreCommands;
use crate::db::{ApiKey, KEY_RECORD_SECONDS, KeySecret, KeyState, OwnerKind, OwnerState};
use crate::random::nonce;
use portcullis_core::{KeyTerms, Seal, TokenRecord, UnixSeconds};
use redis_rest::{Command, Reply};
use serde_json::Value;

/// What the store must have under one of its keys.
pub enum Wanted {
    Absent,
    Record {
        record: Box<TokenRecord>,
        seconds: u64,
    },
    /// The marker that revokes all secrets of an API key.
    Revoked {
        at: u64,
        seconds: u64,
    },
}

impl StoreCommands {
    /// Returns the commands that give the store the state of a key.
    pub fn key(&self, state: &KeyState, now: UnixSeconds) -> Vec<Command> {
        let wanted = self.wanted(state, now);
        wanted.iter().map(|(key, wanted)| self.want(key, wanted)).collect()
    }

    /// Returns what the store must have of a key: for each secret its record or nothing, and a
    /// marker if the key is revoked.
    pub fn wanted(&self, state: &KeyState, now: UnixSeconds) -> Vec<(String, Wanted)> {
        let secrets = state.secrets.iter().map(|secret| {
            // Without the settings of records, the record is removed. The server writes it again
            // when it is missed.
            let record = self.records().and_then(|settings| {
                let record = self.key_record(state, secret, &settings.audience, now)?;
                let left = record.exp.map_or(u64::MAX, |exp| exp.saturating_sub(now.0));
                let (record, seconds) = (Box::new(record), left.min(KEY_RECORD_SECONDS));
                Some(Wanted::Record { record, seconds })
            });
            (self.keys().token_of(&secret.hash), record.unwrap_or(Wanted::Absent))
        });
        let mut wanted: Vec<(String, Wanted)> = secrets.collect();
        if let Some(at) = state.key.revoked_at {
            let end = at.saturating_add(KEY_REVOCATION_SECONDS);
            let key = self.keys().revoked_jti(self.issuer(), &state.key.id);
            // An expired marker is not missed, since no record outlives it.
            if let Some(seconds) = end.checked_sub(now.0).filter(|seconds| *seconds > 0) {
                wanted.push((key, Wanted::Revoked { at, seconds }));
            }
        }
        wanted
    }

    /// Returns the record of a secret; `None` if the secret or its key is not valid.
    pub fn key_record(
        &self,
        state: &KeyState,
        secret: &KeySecret,
        audience: &str,
        now: UnixSeconds,
    ) -> Option<TokenRecord> {
        let (key, spec) = (&state.key, &state.key.spec);
        let owner = state.owner.as_ref().filter(|owner| !owner.disabled && key.is_live(now.0))?;
        if secret.ends_at.is_some_and(|at| at <= now.0) {
            return None;
        }
        let mut others = owner.claims.clone();
        if let Some(plan) = &spec.plan {
            others.insert("plan".to_owned(), Value::from(plan.as_str()));
        }
        if !spec.metadata.is_empty() {
            others.insert("metadata".to_owned(), Value::Object(spec.metadata.clone()));
        }
        // A marker that revokes the owner's tokens up to a time must not revoke the key, whose
        // record has the owner's present scope and claims.
        let affirmed_at = owner.tokens_revoked_at.map_or(0, |at| at.saturating_add(1));
        let quotas = spec.quotas.iter().map(|(limit, quota)| (limit.clone(), *quota));
        let terms = KeyTerms { networks: spec.networks.clone(), quotas: quotas.collect() };
        Some(TokenRecord {
            sub: key.owner.id.clone(),
            client_id: (key.owner.kind == OwnerKind::Client).then(|| key.owner.id.clone()),
            scope: effective_scope(key, owner),
            exp: spec.expires_at.into_iter().chain(secret.ends_at).min(),
            aud: Some(audience.to_owned()),
            jti: Some(key.id.clone()),
            iat: Some(key.created_at.max(affirmed_at)),
            key: Some(terms),
            others,
            ..TokenRecord::default()
        })
    }

    /// Returns the command that gives the store what it must have under a key.
    pub fn want(&self, key: &str, wanted: &Wanted) -> Command {
        let set = |value: String, seconds: u64| {
            Command::new("SET").arg(key).arg(value).arg("EX").arg(seconds.max(1))
        };
        match wanted {
            Wanted::Absent => Command::new("DEL").arg(key),
            Wanted::Record { record, seconds } => {
                set(record.encode(key, self.seal(), nonce()), *seconds)
            }
            Wanted::Revoked { at, seconds } => set(at.to_string(), *seconds),
        }
    }

    /// Returns whether the store's reply to `GET` is what the store must have.
    pub fn has(&self, key: &str, wanted: &Wanted, reply: &Reply) -> bool {
        match wanted {
            Wanted::Absent => *reply == Reply::Null,
            Wanted::Record { record, .. } => {
                let text = reply.as_text();
                let stored = text.and_then(|text| TokenRecord::decode(text, key, self.seal()));
                stored.is_some_and(|stored| stored == **record)
            }
            Wanted::Revoked { .. } => reply.as_text().is_some(),
        }
    }

    /// Returns where commands write records of API keys.
    pub fn key_records(&self, commands: &[Command]) -> Vec<String> {
        let written = commands.iter().filter(|command| command.name() == "SET");
        let written = written.filter_map(|command| Some((command.text(1)?, command.text(2)?)));
        let is_of_key = |(key, text): &(&str, &str)| {
            let record = TokenRecord::decode(text, key, self.seal());
            record.is_some_and(|record| record.key.is_some())
        };
        written.filter(is_of_key).map(|(key, _)| key.to_owned()).collect()
    }

    fn seal(&self) -> Option<&Seal> {
        self.records().and_then(|settings| settings.seal.as_ref())
    }
}

/// Returns the part of a key's scope that its owner still has.
fn effective_scope(key: &ApiKey, owner: &OwnerState) -> String {
    let names = key.spec.scope.split(' ').filter(|name| !name.is_empty());
    let owned = names.filter(|name| owner.scope.split(' ').any(|own| own == *name));
    owned.collect::<Vec<_>>().join(" ")
}

/// How long the marker of a revoked key lives: longer than a record of the key that was written
/// while it was being revoked.
const KEY_REVOCATION_SECONDS: u64 = KEY_RECORD_SECONDS + 3600;
