//! Changes API keys: what they may do, and their secrets.

use super::create::encode;
use super::{KeyCommands, KeySpec, KeyState};
use crate::db::audit::AuditedChange;
use crate::db::clients::tokens::CLOCK_SKEW_SECONDS;
use crate::db::outbox::OutboxRow;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use crate::problem::Problem;
use portcullis_core::UnixSeconds;
use sqlx::AssertSqlSafe;

/// The result of a change of one key.
pub enum KeyChange {
    Changed {
        state: KeyState,
        outbox_row: OutboxRow,
    },
    /// The key is as the change wants it, so nothing was written.
    Unchanged(KeyState),
    Refused(Problem),
}

/// A new secret, which replaces the current one.
pub struct RolledSecret<'a> {
    pub hash: &'a str,
    pub display_prefix: &'a str,
    /// How long the replaced secret remains valid.
    pub grace_seconds: u64,
}

impl Db {
    /// Changes what a live key may do. `revise` returns the new specification, or why it is
    /// refused. Writes nothing if that is the old one.
    pub async fn change_key(
        &self,
        id: &str,
        change: &AuditedChange<'_>,
        commands: KeyCommands<'_>,
        revise: impl FnOnce(&KeyState) -> Result<KeySpec, Problem>,
    ) -> Result<KeyChange, sqlx::Error> {
        let mut tx = self.begin().await?;
        let state = match self.lock_live_key(&mut tx, id, change.now).await? {
            Ok(state) => state,
            Err(problem) => return Ok(KeyChange::Refused(problem)),
        };
        let spec = match revise(&state) {
            Ok(spec) => spec,
            Err(problem) => return Ok(KeyChange::Refused(problem)),
        };
        if spec == state.key.spec {
            tx.rollback().await?;
            return Ok(KeyChange::Unchanged(state));
        }
        self.count(Purpose::Request);
        sqlx::query(
            "UPDATE api_keys SET name = $1, scope = $2, plan = $3, quotas = $4, networks = $5,
             metadata = $6, expires_at = $7, changed_at = $8 WHERE id = $9",
        )
        .bind(spec.name.as_str())
        .bind(spec.scope.as_str())
        .bind(spec.plan.clone())
        .bind(encode(&spec.quotas)?)
        .bind(encode(&spec.networks)?)
        .bind(encode(&spec.metadata)?)
        .bind(spec.expires_at.map(to_i64))
        .bind(to_i64(change.now.0))
        .bind(id)
        .execute(&mut *tx)
        .await?;
        self.finish_change(tx, id, change, commands).await
    }

    /// Replaces the secret of a live key. The replaced one ends after the grace period. Those
    /// before it end when their own grace does, so that a repeated roll does not end the secret in
    /// use. Without a grace, all of them end now. `check` returns why it is refused.
    pub async fn roll_key(
        &self,
        id: &str,
        new: &RolledSecret<'_>,
        change: &AuditedChange<'_>,
        commands: KeyCommands<'_>,
        check: impl FnOnce(&KeyState) -> Result<(), Problem>,
    ) -> Result<KeyChange, sqlx::Error> {
        let now = to_i64(change.now.0);
        let mut tx = self.begin().await?;
        let state = match self.lock_live_key(&mut tx, id, change.now).await? {
            Ok(state) => state,
            Err(problem) => return Ok(KeyChange::Refused(problem)),
        };
        if let Err(problem) = check(&state) {
            return Ok(KeyChange::Refused(problem));
        }
        if state.secrets.len() >= SECRETS_MAX {
            return Ok(KeyChange::Refused(Problem::ApiKeyRolledTooOften));
        }
        let (replaced, ends_at) = match new.grace_seconds {
            0 => ("ends_at IS NULL OR ends_at > $1", ended(change.now)),
            grace => ("ends_at IS NULL", to_i64(change.now.plus(grace).0)),
        };
        let update =
            format!("UPDATE api_key_secrets SET ends_at = $1 WHERE key_id = $2 AND ({replaced})");
        self.count(Purpose::Request);
        sqlx::query(AssertSqlSafe(update)).bind(ends_at).bind(id).execute(&mut *tx).await?;
        self.count(Purpose::Request);
        sqlx::query("UPDATE api_keys SET display_prefix = $1, changed_at = $2 WHERE id = $3")
            .bind(new.display_prefix)
            .bind(now)
            .bind(id)
            .execute(&mut *tx)
            .await?;
        self.insert_key_secret(&mut tx, id, new.hash, now).await?;
        self.finish_change(tx, id, change, commands).await
    }

    /// Ends a replaced secret of a live key before its grace does. Returns `None`, and writes
    /// nothing, if it has ended, or its key has.
    pub async fn end_key_secret(
        &self,
        id: &str,
        hash: &str,
        change: &AuditedChange<'_>,
        commands: KeyCommands<'_>,
    ) -> Result<Option<OutboxRow>, sqlx::Error> {
        let mut tx = self.begin().await?;
        if self.lock_live_key(&mut tx, id, change.now).await?.is_err() {
            return Ok(None);
        }
        self.count(Purpose::Request);
        let update = sqlx::query(
            "UPDATE api_key_secrets SET ends_at = $1 WHERE key_id = $2 AND hash = $3
             AND ends_at > $4",
        );
        let update = update.bind(ended(change.now)).bind(id).bind(hash).bind(to_i64(change.now.0));
        if update.execute(&mut *tx).await?.rows_affected() == 0 {
            tx.rollback().await?;
            return Ok(None);
        }
        self.count(Purpose::Request);
        sqlx::query("UPDATE api_keys SET changed_at = $1 WHERE id = $2")
            .bind(to_i64(change.now.0))
            .bind(id)
            .execute(&mut *tx)
            .await?;
        match self.finish_change(tx, id, change, commands).await? {
            KeyChange::Changed { outbox_row, .. } => Ok(Some(outbox_row)),
            KeyChange::Unchanged(_) | KeyChange::Refused(_) => Ok(None),
        }
    }

    /// Locks a key's row and returns its state, or why it can't be changed.
    async fn lock_live_key(
        &self,
        tx: &mut Tx,
        id: &str,
        now: UnixSeconds,
    ) -> Result<Result<KeyState, Problem>, sqlx::Error> {
        self.count(Purpose::Request);
        sqlx::query("UPDATE api_keys SET changed_at = changed_at WHERE id = $1")
            .bind(id)
            .execute(&mut **tx)
            .await?;
        Ok(match self.key_state_in(tx, id, now).await? {
            Some(state) if state.key.is_live(now.0) => Ok(state),
            Some(_) => Err(Problem::ApiKeyEnded),
            None => Err(Problem::ApiKeyUnknown),
        })
    }

    /// Lets all writes of keys wait until the returned transaction is dropped. SQLite's one writer
    /// is busy anyway.
    #[cfg(test)]
    pub async fn lock_keys(&self) -> Tx {
        let mut tx = self.begin().await.unwrap();
        if self.is_postgres() {
            let lock = sqlx::query("LOCK TABLE api_keys IN EXCLUSIVE MODE");
            lock.execute(&mut *tx).await.unwrap();
        }
        tx
    }

    /// Adds the outbox row and the events of a change, and commits it.
    async fn finish_change(
        &self,
        mut tx: Tx,
        id: &str,
        change: &AuditedChange<'_>,
        commands: KeyCommands<'_>,
    ) -> Result<KeyChange, sqlx::Error> {
        let (state, outbox_row) = self.publish_key(&mut tx, id, change.now, commands).await?;
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(KeyChange::Changed { state, outbox_row })
    }

    /// Replaces the undelivered rows of a key by one that gives the store the key's present state.
    /// The transaction must have locked the key's row.
    pub(super) async fn publish_key(
        &self,
        tx: &mut Tx,
        id: &str,
        now: UnixSeconds,
        commands: KeyCommands<'_>,
    ) -> Result<(KeyState, OutboxRow), sqlx::Error> {
        let state = self.key_state_in(tx, id, now).await?.ok_or(sqlx::Error::RowNotFound)?;
        self.discard_outbox_rows(tx, id).await?;
        let row = self.enqueue(tx, id, commands(&state), now).await?;
        Ok((state, row))
    }
}

/// Returns an end that has passed by the clock of every auth service.
pub(super) fn ended(now: UnixSeconds) -> i64 {
    to_i64(now.0.saturating_sub(CLOCK_SKEW_SECONDS))
}

/// The most secrets of one key that the database retains. Each change of the key names them all to
/// the store.
const SECRETS_MAX: usize = 100;
