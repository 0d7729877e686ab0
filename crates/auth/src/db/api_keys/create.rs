//! Creates API keys.

use super::{KeyCommands, KeySpec, KeyState, Owner, OwnerKind, OwnerState, owner_claims};
use crate::db::audit::AuditedChange;
use crate::db::outbox::OutboxRow;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use crate::problem::Problem;
use serde::Serialize;
use sqlx::Row as _;

/// A new key and the hash of its secret.
pub struct NewApiKey<'a> {
    pub id: &'a str,
    pub owner: &'a Owner,
    pub spec: &'a KeySpec,
    pub display_prefix: &'a str,
    pub hash: &'a str,
    /// The most keys of one owner that are not revoked.
    pub keys_max: u32,
}

impl Db {
    /// Returns what an owner gives to its keys; `None` if it does not exist.
    pub async fn key_owner(&self, owner: &Owner) -> Result<Option<OwnerState>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = match owner.kind {
            OwnerKind::Client => sqlx::query(
                "SELECT scope, plan, claims, disabled_at, tokens_revoked_at FROM clients
                 WHERE id = $1 AND deleted_at IS NULL",
            ),
            OwnerKind::User => sqlx::query(
                "SELECT scope, NULL AS plan, claims, disabled_at, tokens_revoked_at FROM users
                 WHERE id = $1 AND deleted_at IS NULL",
            ),
        };
        let row = row.bind(owner.id.as_str()).fetch_optional(&self.readers).await?;
        let state = row.map(|row| {
            Ok(OwnerState {
                scope: row.try_get("scope")?,
                claims: owner_claims(row.try_get("claims")?, row.try_get("plan")?),
                disabled: row.try_get::<Option<i64>, _>("disabled_at")?.is_some(),
                tokens_revoked_at: row
                    .try_get::<Option<i64>, _>("tokens_revoked_at")?
                    .map(i64::unsigned_abs),
            })
        });
        state.transpose()
    }

    /// Locks the row of an owner, so that it can neither be disabled nor get another key before the
    /// transaction ends. Returns `false` if it does not exist or is disabled.
    async fn lock_key_owner(&self, tx: &mut Tx, owner: &Owner) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let update = match owner.kind {
            OwnerKind::Client => {
                "UPDATE clients SET disabled_at = NULL
                 WHERE id = $1 AND disabled_at IS NULL AND deleted_at IS NULL"
            }
            OwnerKind::User => {
                "UPDATE users SET disabled_at = NULL WHERE id = $1 AND disabled_at IS NULL"
            }
        };
        let locked = sqlx::query(update).bind(owner.id.as_str()).execute(&mut **tx).await?;
        Ok(locked.rows_affected() == 1)
    }

    /// Adds a key. Returns its state and its outbox row, or why the key is refused.
    pub async fn create_key(
        &self,
        new: &NewApiKey<'_>,
        change: &AuditedChange<'_>,
        commands: KeyCommands<'_>,
    ) -> Result<Result<(KeyState, OutboxRow), Problem>, sqlx::Error> {
        let (now, spec) = (to_i64(change.now.0), new.spec);
        let mut tx = self.begin().await?;
        if !self.lock_key_owner(&mut tx, new.owner).await? {
            return Ok(Err(Problem::OwnerUnknown));
        }
        if !self.make_room(&mut tx, new.owner, new.keys_max, now).await? {
            return Ok(Err(Problem::ApiKeysOverMax));
        }
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO api_keys (id, owner_kind, owner_id, name, display_prefix, scope, plan,
             quotas, networks, metadata, created_at, changed_at, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12)",
        )
        .bind(new.id)
        .bind(new.owner.kind.name())
        .bind(new.owner.id.as_str())
        .bind(spec.name.as_str())
        .bind(new.display_prefix)
        .bind(spec.scope.as_str())
        .bind(spec.plan.clone())
        .bind(encode(&spec.quotas)?)
        .bind(encode(&spec.networks)?)
        .bind(encode(&spec.metadata)?)
        .bind(now)
        .bind(spec.expires_at.map(to_i64))
        .execute(&mut *tx)
        .await?;
        self.insert_key_secret(&mut tx, new.id, new.hash, now).await?;
        let published = self.publish_key(&mut tx, new.id, change.now, commands).await?;
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(Ok(published))
    }

    /// Revokes as many expired keys of an owner as must make room for another one, so that the rows
    /// that an owner's deletion changes are bounded. Returns `false` if the others are too many.
    async fn make_room(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        keys_max: u32,
        now: i64,
    ) -> Result<bool, sqlx::Error> {
        self.count(Purpose::Request);
        let count = sqlx::query(
            "SELECT COUNT(*) AS keys FROM api_keys WHERE owner_kind = $1 AND owner_id = $2
             AND revoked_at IS NULL",
        );
        let count = count.bind(owner.kind.name()).bind(owner.id.as_str());
        let keys: i64 = count.fetch_one(&mut **tx).await?.try_get("keys")?;
        let excess = keys + 1 - i64::from(keys_max);
        if excess <= 0 {
            return Ok(true);
        }
        self.count(Purpose::Request);
        // The store needs no marker: a record ends with its key.
        let revoked = sqlx::query(
            "UPDATE api_keys SET revoked_at = $1, changed_at = $1 WHERE id IN
             (SELECT id FROM api_keys WHERE owner_kind = $2 AND owner_id = $3
             AND revoked_at IS NULL AND expires_at <= $1 ORDER BY expires_at, id LIMIT $4)",
        );
        let revoked = revoked.bind(now).bind(owner.kind.name()).bind(owner.id.as_str());
        let revoked = revoked.bind(excess).execute(&mut **tx).await?;
        Ok(revoked.rows_affected() >= excess.unsigned_abs())
    }

    /// Adds the current secret of a key.
    pub(super) async fn insert_key_secret(
        &self,
        tx: &mut Tx,
        id: &str,
        hash: &str,
        now: i64,
    ) -> Result<(), sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query("INSERT INTO api_key_secrets (hash, key_id, created_at) VALUES ($1, $2, $3)")
            .bind(hash)
            .bind(id)
            .bind(now)
            .execute(&mut **tx)
            .await
            .map(|_| ())
    }
}

/// Encodes a value for a column that contains JSON.
pub(super) fn encode(value: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(Box::new(error)))
}
