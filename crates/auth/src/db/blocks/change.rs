//! Changes of blocks. Each is one transaction: the row, its commands for the store, and its event.

use super::{Block, BlockTarget, BlockedNetwork, NETWORKS_MAX};
use crate::db::audit::AuditedChange;
use crate::db::outbox::OutboxRow;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;

/// The commands for the store that follow from a change of blocks.
#[derive(Clone, Copy)]
pub struct BlockCommands<'a> {
    /// Returns the commands that write one block to the store, or delete it there.
    pub block: &'a (dyn Fn(&Block) -> Vec<Command> + Sync),
    /// Returns the commands that replace the list of networks.
    pub networks: &'a (dyn Fn(&[BlockedNetwork]) -> Vec<Command> + Sync),
}

/// The result of setting a block.
#[derive(Debug)]
pub enum BlockSet {
    Done(Vec<OutboxRow>),
    /// The list of networks is full.
    TooMany,
}

/// Returns what the outbox rows of one block are about.
pub fn about_block(id: &str) -> String {
    format!("{ABOUT_BLOCK}{id}")
}

/// What the outbox rows of a block are about, before its id.
pub const ABOUT_BLOCK: &str = "block/";
/// What the outbox rows of the list of networks are about.
pub const ABOUT_NETWORKS: &str = "networks/";

impl Db {
    /// Sets a block, or replaces its reason and its end. Undelivered rows about it are discarded.
    pub async fn set_block(
        &self,
        block: &Block,
        commands: BlockCommands<'_>,
        change: &AuditedChange<'_>,
    ) -> Result<BlockSet, sqlx::Error> {
        let (target, now) = (&block.target, change.now);
        let mut tx = self.begin().await?;
        if target.kind.is_in_list() {
            self.lock_block_list(&mut tx).await?;
        }
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO blocks (id, hash, kind, issuer, name, reason, ends_at, created_at,
             changed_at, cleared_at, actor) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, NULL, $9)
             ON CONFLICT (id) DO UPDATE SET reason = excluded.reason, ends_at = excluded.ends_at,
             created_at = CASE WHEN blocks.cleared_at IS NULL THEN blocks.created_at
             ELSE excluded.created_at END, changed_at = excluded.changed_at, cleared_at = NULL,
             actor = excluded.actor",
        )
        .bind(target.id())
        .bind(target.hash())
        .bind(target.kind.name())
        .bind(target.issuer.as_str())
        .bind(target.name.as_str())
        .bind(block.reason.as_str())
        .bind(to_i64(block.ends_at))
        .bind(to_i64(now.0))
        .bind(block.actor.as_str())
        .execute(&mut *tx)
        .await?;
        let mut rows = Vec::new();
        if target.kind.is_in_list() {
            self.count(Purpose::Request);
            let live = "SELECT COUNT(*) AS live FROM blocks WHERE cleared_at IS NULL
                 AND kind IN ('address', 'network') AND ends_at > $1";
            let live = sqlx::query(live).bind(to_i64(now.0)).fetch_one(&mut *tx).await?;
            if live.try_get::<i64, _>("live")? > NETWORKS_MAX {
                tx.rollback().await?;
                return Ok(BlockSet::TooMany);
            }
            rows.push(self.replace_networks(&mut tx, commands, now).await?);
        }
        rows.extend(self.replace_block(&mut tx, block, commands, now).await?);
        self.append_events(&mut tx, change.events, now).await?;
        tx.commit().await?;
        Ok(BlockSet::Done(rows))
    }

    /// Clears a block. Returns `None`, and writes nothing, if it is over or there is none.
    pub async fn clear_block(
        &self,
        target: &BlockTarget,
        actor: &str,
        commands: BlockCommands<'_>,
        change: &AuditedChange<'_>,
    ) -> Result<Option<Vec<OutboxRow>>, sqlx::Error> {
        let now = change.now;
        let mut tx = self.begin().await?;
        if target.kind.is_in_list() {
            self.lock_block_list(&mut tx).await?;
        }
        self.count(Purpose::Request);
        let row = sqlx::query(
            "UPDATE blocks SET cleared_at = $1, changed_at = $1, actor = $2
             WHERE id = $3 AND cleared_at IS NULL
             RETURNING kind, issuer, name, reason, ends_at, created_at, changed_at, cleared_at,
             actor",
        )
        .bind(to_i64(now.0))
        .bind(actor)
        .bind(target.id())
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else {
            tx.rollback().await?;
            return Ok(None);
        };
        let rows = self.remove_block(&mut tx, &Block::read(&row)?, commands, now).await?;
        self.append_events(&mut tx, change.events, now).await?;
        tx.commit().await?;
        Ok(Some(rows))
    }

    /// Ends one batch of blocks whose end has come, and returns their number. Their keys in the
    /// store have expired by themselves, but an undelivered row would write them again.
    pub async fn end_blocks(
        &self,
        commands: BlockCommands<'_>,
        now: UnixSeconds,
    ) -> Result<u64, sqlx::Error> {
        self.count(Purpose::Maintenance);
        let due = "SELECT id FROM blocks WHERE cleared_at IS NULL AND ends_at <= $1 LIMIT 1";
        let due = sqlx::query(due).bind(to_i64(now.0)).fetch_optional(&self.readers).await?;
        if due.is_none() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        // Each change of several blocks locks the list first, to prevent deadlocks.
        self.lock_block_list(&mut tx).await?;
        self.count(Purpose::Maintenance);
        let statement = self.skipping_locked(
            "UPDATE blocks SET cleared_at = $1, changed_at = $1 WHERE id IN
             (SELECT id FROM blocks WHERE cleared_at IS NULL AND ends_at <= $1
             LIMIT 100 /* skip locked */) AND cleared_at IS NULL AND ends_at <= $1
             RETURNING kind, issuer, name, reason, ends_at, created_at, changed_at, cleared_at,
             actor",
        );
        let rows = sqlx::query(statement).bind(to_i64(now.0)).fetch_all(&mut *tx).await?;
        let ended = rows.iter().map(Block::read).collect::<Result<Vec<_>, _>>()?;
        for block in &ended {
            self.replace_block(&mut tx, block, commands, now).await?;
        }
        if ended.iter().any(|block| block.target.kind.is_in_list()) {
            self.replace_networks(&mut tx, commands, now).await?;
        }
        tx.commit().await?;
        Ok(ended.len() as u64)
    }

    /// Deletes one batch of rows of adjustments that no store can still have, and returns their
    /// number.
    pub async fn delete_ended_adjustments(&self, now: UnixSeconds) -> Result<u64, sqlx::Error> {
        let ago = |seconds: u64| to_i64(now.0.saturating_sub(seconds));
        let mut deleted = 0;
        for (statement, before) in [
            (
                // An undelivered row of the outbox needs the block: its delivery deletes the key.
                "DELETE FROM blocks WHERE id IN (SELECT id FROM blocks WHERE cleared_at < $1
                 AND NOT EXISTS (SELECT 1 FROM outbox WHERE about = 'block/' || blocks.id)
                 LIMIT 500 /* skip locked */)",
                ago(RETENTION_SECONDS),
            ),
            (
                "DELETE FROM quota_overrides WHERE id IN
                 (SELECT id FROM quota_overrides WHERE cleared_at < $1
                 AND NOT EXISTS (SELECT 1 FROM outbox WHERE about = 'quota/' || quota_overrides.id)
                 LIMIT 500 /* skip locked */)",
                ago(RETENTION_SECONDS),
            ),
            (
                "DELETE FROM credit_grants WHERE (balance_id, grant_id) IN
                 (SELECT balance_id, grant_id FROM credit_grants WHERE created_at < $1
                 LIMIT 500 /* skip locked */)",
                ago(GRANT_SECONDS),
            ),
        ] {
            self.count(Purpose::Maintenance);
            let statement = self.skipping_locked(statement);
            let result = sqlx::query(statement).bind(before).execute(&self.writer).await?;
            deleted += result.rows_affected();
        }
        Ok(deleted)
    }

    /// Writes the outbox rows that remove a block.
    async fn remove_block(
        &self,
        tx: &mut Tx,
        block: &Block,
        commands: BlockCommands<'_>,
        now: UnixSeconds,
    ) -> Result<Vec<OutboxRow>, sqlx::Error> {
        let mut rows = Vec::new();
        if block.target.kind.is_in_list() {
            rows.push(self.replace_networks(tx, commands, now).await?);
        }
        rows.extend(self.replace_block(tx, block, commands, now).await?);
        Ok(rows)
    }

    async fn replace_block(
        &self,
        tx: &mut Tx,
        block: &Block,
        commands: BlockCommands<'_>,
        now: UnixSeconds,
    ) -> Result<Option<OutboxRow>, sqlx::Error> {
        let commands = (commands.block)(block);
        // A network is in the list alone.
        if commands.is_empty() {
            return Ok(None);
        }
        let about = about_block(&block.target.id());
        self.discard_outbox_rows(tx, &about).await?;
        self.enqueue(tx, &about, commands, now).await.map(Some)
    }

    async fn replace_networks(
        &self,
        tx: &mut Tx,
        commands: BlockCommands<'_>,
        now: UnixSeconds,
    ) -> Result<OutboxRow, sqlx::Error> {
        let networks = self.networks_in(tx).await?;
        self.discard_outbox_rows(tx, ABOUT_NETWORKS).await?;
        self.enqueue(tx, ABOUT_NETWORKS, (commands.networks)(&networks), now).await
    }

    /// Lets transactions that change the list of networks wait for each other, so that the last one
    /// writes a list with the changes of all.
    async fn lock_block_list(&self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        self.count(Purpose::Request);
        let lock = "INSERT INTO block_list (id, revision) VALUES (1, 1)
             ON CONFLICT (id) DO UPDATE SET revision = block_list.revision + 1
             RETURNING revision";
        sqlx::query(lock).fetch_one(&mut **tx).await?.try_get::<i64, _>("revision").map(|_| ())
    }
}

/// How long a block or a quota that is over is retained, so that its deletion is repeated where a
/// store went back to an older state.
const RETENTION_SECONDS: u64 = 86_400;
/// How long a grant is known by its id.
const GRANT_SECONDS: u64 = 400 * 86_400;
