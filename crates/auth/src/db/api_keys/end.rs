//! Ends API keys, and withdraws or returns those of an owner.

use super::change::ended;
use super::{KeyCommands, KeyState, Owner};
use crate::db::audit::AuditedChange;
use crate::db::outbox::OutboxRow;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use portcullis_core::UnixSeconds;
use sqlx::Row as _;

impl Db {
    /// Revokes a key. Returns `None`, and writes nothing, if it is unknown or was revoked before.
    pub async fn revoke_key(
        &self,
        id: &str,
        change: &AuditedChange<'_>,
        commands: KeyCommands<'_>,
    ) -> Result<Option<(KeyState, OutboxRow)>, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        let revoked = sqlx::query(
            "UPDATE api_keys SET revoked_at = $1, changed_at = $1
             WHERE id = $2 AND revoked_at IS NULL",
        )
        .bind(to_i64(change.now.0))
        .bind(id)
        .execute(&mut *tx)
        .await?;
        if revoked.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(None);
        }
        let ended = self.publish_key(&mut tx, id, change.now, commands).await?;
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(Some(ended))
    }

    /// Revokes all keys of an owner in a transaction of their own. Writes nothing if the owner has
    /// none.
    pub async fn revoke_keys_of_owner(
        &self,
        owner: &Owner,
        change: &AuditedChange<'_>,
        commands: KeyCommands<'_>,
    ) -> Result<Vec<OutboxRow>, sqlx::Error> {
        let mut tx = self.begin().await?;
        let rows = self.end_keys_of_owner(&mut tx, owner, change.now, commands).await?;
        if rows.is_empty() {
            tx.rollback().await?;
            return Ok(rows);
        }
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(rows)
    }

    /// Revokes all keys of an owner in the transaction of another change, such as the owner's
    /// deletion. Returns one outbox row for each key that had not expired.
    pub(crate) async fn end_keys_of_owner(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        now: UnixSeconds,
        commands: KeyCommands<'_>,
    ) -> Result<Vec<OutboxRow>, sqlx::Error> {
        let update = "UPDATE api_keys SET revoked_at = $1, changed_at = $1
             WHERE owner_kind = $2 AND owner_id = $3 AND revoked_at IS NULL
             RETURNING id, expires_at";
        self.publish_updated(tx, update, owner, now, commands).await
    }

    /// Gives the store the present state of an owner's keys, in the transaction that disables or
    /// enables the owner or changes its scope or claims. The transaction must have changed the
    /// owner's row before. Returns one outbox row for each key.
    pub(crate) async fn publish_keys_of_owner(
        &self,
        tx: &mut Tx,
        owner: &Owner,
        now: UnixSeconds,
        commands: KeyCommands<'_>,
    ) -> Result<Vec<OutboxRow>, sqlx::Error> {
        let update = "UPDATE api_keys SET changed_at = $1
             WHERE owner_kind = $2 AND owner_id = $3 AND revoked_at IS NULL
             AND (expires_at IS NULL OR expires_at > $1) RETURNING id, expires_at";
        self.publish_updated(tx, update, owner, now, commands).await
    }

    /// Locks and changes an owner's keys by `update`, and publishes those that have not expired by
    /// the clock of every auth service: the store has no record of the others.
    async fn publish_updated(
        &self,
        tx: &mut Tx,
        update: &'static str,
        owner: &Owner,
        now: UnixSeconds,
        commands: KeyCommands<'_>,
    ) -> Result<Vec<OutboxRow>, sqlx::Error> {
        self.count(Purpose::Request);
        let updated = sqlx::query(update)
            .bind(to_i64(now.0))
            .bind(owner.kind.name())
            .bind(owner.id.as_str())
            .fetch_all(&mut **tx)
            .await?;
        let mut ids: Vec<String> = Vec::new();
        for row in updated {
            let expires_at: Option<i64> = row.try_get("expires_at")?;
            if expires_at.is_none_or(|at| at > ended(now)) {
                ids.push(row.try_get("id")?);
            }
        }
        let mut rows = Vec::new();
        for batch in ids.chunks(BATCH) {
            rows.extend(self.publish_keys(tx, batch, now, commands).await?);
        }
        Ok(rows)
    }

    /// Replaces the undelivered rows of some keys, as [`Self::publish_key`] does of one.
    async fn publish_keys(
        &self,
        tx: &mut Tx,
        ids: &[String],
        now: UnixSeconds,
        commands: KeyCommands<'_>,
    ) -> Result<Vec<OutboxRow>, sqlx::Error> {
        let states = self.key_states_in(tx, ids, now).await?;
        let rows = states.iter().map(|state| (state.key.id.as_str(), commands(state)));
        self.replace_outbox_rows(tx, rows.collect(), now).await
    }
}

/// The most keys of one query. A row of the outbox takes four parameters of the 999 that older
/// versions of SQLite accept.
const BATCH: usize = 100;
