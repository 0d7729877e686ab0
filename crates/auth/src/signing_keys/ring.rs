//! The keys of this process, kept consistent with the database.

use super::algorithm::KeyAlgorithm;
use super::jwk::{generate_pkcs8, public_jwk};
use super::key_set::{KeySet, SigningKey};
use super::schedule::{KeyActivation, KeyPlan, Rescheduling, SigningSettings, plan};
use crate::db::{Db, KeyRow};
use crate::error::BoxError;
use crate::random::nonce;
use portcullis_core::UnixSeconds;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// The keys of this process.
pub struct KeyRing {
    db: Arc<Db>,
    settings: SigningSettings,
    key_set: RwLock<Arc<KeySet>>,
    /// The key whose activation this process moved most recently.
    moved: Mutex<Option<MovedKey>>,
}

struct MovedKey {
    kid: String,
    at: UnixSeconds,
    /// Whether another process has moved it back.
    is_contested: bool,
}

impl KeyRing {
    /// Loads the keys from the database, and generates the first ones.
    pub async fn open(
        db: Arc<Db>,
        settings: SigningSettings,
        now: UnixSeconds,
    ) -> Result<Self, BoxError> {
        let ring = Self { db, settings, key_set: RwLock::default(), moved: Mutex::default() };
        ring.maintain(now).await?;
        Ok(ring)
    }

    /// Returns the keys as loaded most recently.
    pub fn key_set(&self) -> Arc<KeySet> {
        Arc::clone(&self.key_set.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Deletes, generates and activates keys as planned, and loads them.
    pub async fn maintain(&self, now: UnixSeconds) -> Result<(), BoxError> {
        let mut rows = self.db.signing_keys().await?;
        // Deleting a key makes room for the next one, so a plan may take several rounds.
        for _ in 0..ROUNDS_MAX {
            let mut plan = plan(&rows, &self.settings, now);
            let change = plan.reschedule.take();
            let row = |generation| rows.iter().find(|row: &&KeyRow| row.generation == generation);
            let change = change.and_then(|change| Some((row(change.generation)?, change)));
            let change = change.filter(|(row, change)| self.may_move(row, change, now));
            let moved = change.as_ref().map(|(row, _)| row.kid.clone());
            plan.reschedule = change.map(|(_, change)| change);
            if plan == KeyPlan::default() {
                break;
            }
            self.carry_out(plan, now).await?;
            if let Some(kid) = moved {
                self.note_move(kid, now);
            }
            rows = self.db.signing_keys().await?;
        }
        let mut keys = Vec::new();
        for row in &rows {
            let key = self.open_row(row)?;
            let is_outdated = !self.settings.master_key.is_sealed_by_first(&row.sealed);
            if is_outdated && let Some(sealed) = self.seal(&row.kid, &key.pkcs8) {
                self.db.reseal_signing_key(row.generation, &sealed).await?;
            }
            keys.push(key);
        }
        *self.key_set.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(KeySet { keys });
        Ok(())
    }

    async fn carry_out(&self, plan: KeyPlan, now: UnixSeconds) -> Result<(), BoxError> {
        for generation in plan.delete {
            self.db.delete_signing_key(generation).await?;
            tracing::info!(event = "signing_key_dropped", generation);
        }
        if let Some(new) = plan.create {
            let row = self.generate(new, now)?;
            // Several auth services may try to add this generation. Only one succeeds.
            if self.db.add_signing_key(&row).await? {
                let KeyRow { generation, kid, .. } = row;
                tracing::info!(event = "signing_key_made", generation, kid);
            }
        }
        if let Some(Rescheduling { generation, before, after }) = plan.reschedule {
            self.db.reschedule_signing_key(generation, before, after).await?;
            tracing::info!(event = "signing_key_rescheduled", generation, active_from = after);
        }
        Ok(())
    }

    /// Returns whether this process may move the activation of the key in `row`. If another process
    /// moves it back, their settings differ. Then the later time stays, so that the key does not
    /// move back and forth. After a while this process tries again, because the other one may have
    /// had outdated settings.
    fn may_move(&self, row: &KeyRow, change: &Rescheduling, now: UnixSeconds) -> bool {
        // Otherwise no key would be current, and no token could be signed.
        if change.after <= now.0 {
            return true;
        }
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |key: &&mut MovedKey| {
            key.kid == row.kid && now.0.saturating_sub(key.at.0) < CONTEST_SECONDS
        };
        let Some(key) = moved.as_mut().filter(is_recent) else { return true };
        if !std::mem::replace(&mut key.is_contested, true) {
            let fix = "give all auth services the same SIGNING_KEY_SECONDS; until then, the \
                       longest applies";
            tracing::warn!(event = "signing_key_seconds_differ", kid = key.kid, fix);
        }
        change.after > change.before
    }

    fn note_move(&self, kid: String, at: UnixSeconds) {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let is_contested = moved.as_ref().is_some_and(|key| key.kid == kid && key.is_contested);
        *moved = Some(MovedKey { kid, at, is_contested });
    }

    fn generate(&self, new: KeyActivation, now: UnixSeconds) -> Result<KeyRow, BoxError> {
        let algorithm = self.settings.algorithm;
        let pkcs8 = generate_pkcs8(algorithm).ok_or("a signing key can't be generated")?;
        let jwk = public_jwk(algorithm, &pkcs8).ok_or("a generated signing key can't be read")?;
        let kid = jwk.get("kid").and_then(Value::as_str).unwrap_or_default().to_owned();
        let sealed = self.seal(&kid, &pkcs8).ok_or("a generated signing key can't be encrypted")?;
        Ok(KeyRow {
            generation: new.generation,
            kid,
            algorithm: algorithm.name().to_owned(),
            public_jwk: jwk.to_string(),
            sealed,
            created_at: now.0,
            active_from: new.active_from,
        })
    }

    fn seal(&self, kid: &str, pkcs8: &str) -> Option<String> {
        self.settings.master_key.seal(pkcs8, &seal_context(kid), nonce())
    }

    fn open_row(&self, row: &KeyRow) -> Result<SigningKey, BoxError> {
        let unopened = || {
            format!(
                "MASTER_KEY: does not open the signing key {}; give the one that it was made \
                 under, also as MASTER_KEY_PREVIOUS",
                row.kid
            )
        };
        let pkcs8 = self.settings.master_key.open(&row.sealed, &seal_context(&row.kid));
        let pkcs8 = pkcs8.ok_or_else(unopened)?;
        let malformed = || format!("the signing key {} can't be read", row.kid);
        let algorithm: KeyAlgorithm = row.algorithm.parse().map_err(|()| malformed())?;
        Ok(SigningKey::new(row, algorithm, pkcs8).ok_or_else(malformed)?)
    }
}

/// Returns the associated data of an encrypted key, which ties it to its id.
fn seal_context(kid: &str) -> String {
    format!("signing-key:{kid}")
}

/// How long a key stays as it is after another process has moved it back.
const CONTEST_SECONDS: u64 = 3600;
/// A number above that of the rounds that any sequence of changes needs.
const ROUNDS_MAX: usize = 4;
