//! Other quotas for single callers of a limit.

use super::LimitCaller;
use crate::db::audit::AuditedChange;
use crate::db::copied::sample_statement;
use crate::db::outbox::OutboxRow;
use crate::db::pool::{Db, Purpose, Tx, to_i64};
use portcullis_core::UnixSeconds;
use redis_rest::Command;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// Another quota for one caller, which may be over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuotaOverride {
    pub caller: LimitCaller,
    pub quota: u32,
    /// The end, in Unix seconds.
    pub ends_at: u64,
    pub created_at: u64,
    pub changed_at: u64,
    /// When it was cleared, or its end was processed.
    pub cleared_at: Option<u64>,
    /// Who set or cleared it last.
    pub actor: String,
}

impl QuotaOverride {
    /// Returns whether it applies at `now`.
    pub fn is_live(&self, now: UnixSeconds) -> bool {
        self.cleared_at.is_none() && self.ends_at > now.0
    }

    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let number = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        Ok(Self {
            caller: LimitCaller::read(row)?,
            quota: u32::try_from(number("quota")?).unwrap_or(u32::MAX),
            ends_at: number("ends_at")?,
            created_at: number("created_at")?,
            changed_at: number("changed_at")?,
            cleared_at: row.try_get::<Option<i64>, _>("cleared_at")?.map(i64::unsigned_abs),
            actor: row.try_get("actor")?,
        })
    }
}

/// Returns the commands for the store that follow from a change of a quota.
pub type QuotaCommands<'a> = &'a (dyn Fn(&QuotaOverride) -> Vec<Command> + Sync);

/// Returns what the outbox rows of a quota are about.
pub fn about_quota(id: &str) -> String {
    format!("{ABOUT_QUOTA}{id}")
}

/// What the outbox rows of a quota are about, before its id.
pub const ABOUT_QUOTA: &str = "quota/";

impl Db {
    /// Sets a caller's quota, or replaces it. Undelivered rows about it are discarded.
    pub async fn set_quota(
        &self,
        quota: &QuotaOverride,
        commands: QuotaCommands<'_>,
        change: &AuditedChange<'_>,
    ) -> Result<OutboxRow, sqlx::Error> {
        let caller = &quota.caller;
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        sqlx::query(
            "INSERT INTO quota_overrides (id, hash, limit_name, issuer, parts, quota, ends_at,
             created_at, changed_at, cleared_at, actor)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, NULL, $9)
             ON CONFLICT (id) DO UPDATE SET quota = excluded.quota, ends_at = excluded.ends_at,
             created_at = CASE WHEN quota_overrides.cleared_at IS NULL
             THEN quota_overrides.created_at ELSE excluded.created_at END,
             changed_at = excluded.changed_at, cleared_at = NULL, actor = excluded.actor",
        )
        .bind(caller.id())
        .bind(caller.hash.as_str())
        .bind(caller.limit.as_str())
        .bind(caller.issuer.as_str())
        .bind(caller.parts.as_str())
        .bind(i64::from(quota.quota))
        .bind(to_i64(quota.ends_at))
        .bind(to_i64(change.now.0))
        .bind(quota.actor.as_str())
        .execute(&mut *tx)
        .await?;
        let row = self.replace_quota(&mut tx, quota, commands, change.now).await?;
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Clears a caller's quota. Returns `None`, and writes nothing, if it is over or there is none.
    pub async fn clear_quota(
        &self,
        id: &str,
        actor: &str,
        commands: QuotaCommands<'_>,
        change: &AuditedChange<'_>,
    ) -> Result<Option<OutboxRow>, sqlx::Error> {
        let mut tx = self.begin().await?;
        self.count(Purpose::Request);
        let row = sqlx::query(
            "UPDATE quota_overrides SET cleared_at = $1, changed_at = $1, actor = $2
             WHERE id = $3 AND cleared_at IS NULL
             RETURNING hash, limit_name, issuer, parts, quota, ends_at, created_at, changed_at,
             cleared_at, actor",
        )
        .bind(to_i64(change.now.0))
        .bind(actor)
        .bind(id)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(row) = row else {
            tx.rollback().await?;
            return Ok(None);
        };
        let cleared = QuotaOverride::read(&row)?;
        let row = self.replace_quota(&mut tx, &cleared, commands, change.now).await?;
        self.append_events(&mut tx, change.events, change.now).await?;
        tx.commit().await?;
        Ok(Some(row))
    }

    /// Ends one batch of quotas whose end has come, and returns their number.
    pub async fn end_quotas(
        &self,
        commands: QuotaCommands<'_>,
        now: UnixSeconds,
    ) -> Result<u64, sqlx::Error> {
        self.count(Purpose::Maintenance);
        let due = "SELECT id FROM quota_overrides WHERE cleared_at IS NULL AND ends_at <= $1
             LIMIT 1";
        let due = sqlx::query(due).bind(to_i64(now.0)).fetch_optional(&self.readers).await?;
        if due.is_none() {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        self.count(Purpose::Maintenance);
        let statement = self.skipping_locked(
            "UPDATE quota_overrides SET cleared_at = $1, changed_at = $1 WHERE id IN
             (SELECT id FROM quota_overrides WHERE cleared_at IS NULL AND ends_at <= $1
             LIMIT 100 /* skip locked */) AND cleared_at IS NULL AND ends_at <= $1
             RETURNING hash, limit_name, issuer, parts, quota, ends_at, created_at, changed_at,
             cleared_at, actor",
        );
        let rows = sqlx::query(statement).bind(to_i64(now.0)).fetch_all(&mut *tx).await?;
        for row in &rows {
            self.replace_quota(&mut tx, &QuotaOverride::read(row)?, commands, now).await?;
        }
        tx.commit().await?;
        Ok(rows.len() as u64)
    }

    async fn replace_quota(
        &self,
        tx: &mut Tx,
        quota: &QuotaOverride,
        commands: QuotaCommands<'_>,
        now: UnixSeconds,
    ) -> Result<OutboxRow, sqlx::Error> {
        let about = about_quota(&quota.caller.id());
        self.discard_outbox_rows(tx, &about).await?;
        self.enqueue(tx, &about, commands(quota), now).await
    }

    /// Returns at most `limit` quotas that apply at `now`, those with ids after `after`.
    pub async fn quotas(
        &self,
        after: &str,
        limit: u32,
        now: UnixSeconds,
    ) -> Result<Vec<QuotaOverride>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT hash, limit_name, issuer, parts, quota, ends_at, created_at, changed_at,
             cleared_at, actor FROM quota_overrides
             WHERE id > $1 AND cleared_at IS NULL AND ends_at > $2 ORDER BY id LIMIT $3",
        )
        .bind(after)
        .bind(to_i64(now.0))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(QuotaOverride::read).collect()
    }

    /// Returns the quota with an id, which may be over.
    pub async fn quota(&self, id: &str) -> Result<Option<QuotaOverride>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT hash, limit_name, issuer, parts, quota, ends_at, created_at, changed_at,
             cleared_at, actor FROM quota_overrides WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(QuotaOverride::read).transpose()
    }

    /// Returns at most `limit` quotas, also those that are over, which were changed after `place`:
    /// a time and an id.
    pub async fn changed_quotas(
        &self,
        place: (u64, &str),
        limit: u32,
    ) -> Result<Vec<QuotaOverride>, sqlx::Error> {
        self.count(Purpose::Maintenance);
        let rows = sqlx::query(
            "SELECT hash, limit_name, issuer, parts, quota, ends_at, created_at, changed_at,
             cleared_at, actor FROM quota_overrides
             WHERE changed_at > $1 OR (changed_at = $1 AND id > $2)
             ORDER BY changed_at, id LIMIT $3",
        )
        .bind(to_i64(place.0))
        .bind(place.1)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(QuotaOverride::read).collect()
    }

    /// Returns some quotas that the store should have, which were not changed after
    /// `changed_before` and do not end before `ends_after`: the first ones after a random hash, and
    /// then the first of all.
    pub async fn sample_quotas(
        &self,
        hash: &str,
        changed_before: u64,
        ends_after: u64,
    ) -> Result<Vec<QuotaOverride>, sqlx::Error> {
        self.count(Purpose::Maintenance);
        let rows = sqlx::query(sample_statement(
            "hash, limit_name, issuer, parts, quota, ends_at, created_at, changed_at, cleared_at,
             actor",
            "quota_overrides",
            "cleared_at IS NULL AND changed_at < $2 AND ends_at > $3",
        ))
        .bind(hash)
        .bind(to_i64(changed_before))
        .bind(to_i64(ends_after))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(QuotaOverride::read).collect()
    }
}
