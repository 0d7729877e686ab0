//! Usage: the hourly counts of requests, and what limits of calendar periods and credits have used.

mod query;

pub use query::{UsageColumn, UsageFilter, UsagePage, UsageQuery, UsageTotals, UsageValue};

use super::pool::{Db, Purpose, Tx, bounded, to_i64};
use portcullis_core::{PeriodUsage, UnixSeconds, UsageBatch, UsageRow};
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::{BTreeMap, HashSet};

/// What one state in the store has counted of one period of one key of a limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct QuotaUsage {
    /// The name of the limit.
    pub limit: String,
    /// The kind of the state: `day`, `month` or `credits`.
    pub state: String,
    /// The hash of what the limit counts, in base64url.
    pub hash: String,
    /// When the period began, in Unix ms; 0 for the credits.
    pub begun: u64,
    /// When the store made the state, in Unix ms.
    pub origin: u64,
    /// How much the state has counted.
    pub used: u64,
    /// When that was last reported, in Unix seconds.
    pub reported_at: u64,
}

impl Db {
    /// Adds batches to the counts, unless that was done before, in one transaction. Returns the ids
    /// of those that it counted. Many batches have the same rows, so they are added up first.
    pub async fn add_usage(
        &self,
        batches: &[UsageBatch],
        now: UnixSeconds,
    ) -> Result<HashSet<String>, sqlx::Error> {
        if batches.is_empty() {
            return Ok(HashSet::new());
        }
        let mut tx = self.begin().await?;
        let counted = self.add_batches(&mut tx, batches, now).await?;
        let mut left = counted.clone();
        // The list in the store may have a batch twice.
        let batches: Vec<&UsageBatch> =
            batches.iter().filter(|batch| left.remove(&batch.id)).collect();
        if batches.is_empty() {
            return Ok(counted);
        }
        // Sorted, so that two transactions lock rows in the same order.
        let mut hours: BTreeMap<[&str; 5], BTreeMap<u64, (u64, u64)>> = BTreeMap::new();
        for row in batches.iter().flat_map(|batch| &batch.rows) {
            let names = [&row.route, &row.issuer, &row.subject, &row.client, &row.key];
            let hours = hours.entry(names.map(String::as_str)).or_default();
            let (passed, refused) = hours.entry(row.hour).or_default();
            (*passed, *refused) = (*passed + row.passed, *refused + row.refused);
        }
        let rows: Vec<HourRow<'_>> = hours
            .iter()
            .flat_map(|(names, hours)| hours.iter().map(|(hour, counts)| (*hour, *names, *counts)))
            .collect();
        self.add_hours(&mut tx, &rows).await?;
        let mut periods: BTreeMap<_, &PeriodUsage> = BTreeMap::new();
        for period in batches.iter().flat_map(|batch| &batch.periods) {
            let key = (&period.limit, &period.state, &period.hash, period.begun, period.origin);
            let largest = periods.entry(key).or_insert(period);
            if period.used > largest.used {
                *largest = period;
            }
        }
        self.add_periods(&mut tx, periods.into_values(), now).await?;
        tx.commit().await?;
        Ok(counted)
    }

    /// Records the ids of batches, and returns those that are new.
    async fn add_batches(
        &self,
        tx: &mut Tx,
        batches: &[UsageBatch],
        now: UnixSeconds,
    ) -> Result<HashSet<String>, sqlx::Error> {
        // Sorted, so that two transactions wait for each other in the same order.
        let mut ids: Vec<&str> = batches.iter().map(|batch| batch.id.as_str()).collect();
        ids.sort_unstable();
        let ids: Value = ids.into_iter().map(|id| json!([id])).collect();
        self.count(Purpose::Usage);
        let query = sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO usage_batches (id, counted_at) SELECT value->>0, $2 FROM {}
             ON CONFLICT DO NOTHING RETURNING id",
            self.json_rows("$1")
        )));
        let query = query.bind(ids.to_string()).bind(to_i64(now.0));
        let rows = query.fetch_all(&mut **tx).await?;
        rows.iter().map(|row| row.try_get("id")).collect()
    }

    /// Adds to the counts of hours.
    async fn add_hours(&self, tx: &mut Tx, rows: &[HourRow<'_>]) -> Result<(), sqlx::Error> {
        if rows.is_empty() {
            return Ok(());
        }
        let values = rows.iter().map(|(hour, [route, issuer, subject, client, key], counts)| {
            let (passed, refused) = (to_i64(counts.0), to_i64(counts.1));
            json!([to_i64(*hour), route, issuer, subject, client, key, passed, refused])
        });
        self.count(Purpose::Usage);
        sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO usage_hours (hour, route, issuer, subject, client, key_id, passed, refused)
             SELECT CAST(value->>0 AS BIGINT), value->>1, value->>2, value->>3, value->>4, value->>5,
             CAST(value->>6 AS BIGINT), CAST(value->>7 AS BIGINT) FROM {}
             ON CONFLICT (hour, route, issuer, subject, client, key_id) DO UPDATE SET
             passed = usage_hours.passed + excluded.passed,
             refused = usage_hours.refused + excluded.refused",
            self.json_rows("$1")
        )))
        .bind(values.collect::<Value>().to_string())
        .execute(&mut **tx)
        .await
        .map(|_| ())
    }

    /// Records what keys of limits have used, unless a later report said more.
    async fn add_periods(
        &self,
        tx: &mut Tx,
        periods: impl Iterator<Item = &PeriodUsage>,
        now: UnixSeconds,
    ) -> Result<(), sqlx::Error> {
        let values: Vec<Value> = periods
            .map(|PeriodUsage { limit, state, hash, begun, origin, used }| {
                json!([limit, state, hash, to_i64(*begun), to_i64(*origin), to_i64(*used)])
            })
            .collect();
        if values.is_empty() {
            return Ok(());
        }
        self.count(Purpose::Usage);
        sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO quota_usage (limit_name, state, hash, begun, origin, used, reported_at)
             SELECT value->>0, value->>1, value->>2, CAST(value->>3 AS BIGINT),
             CAST(value->>4 AS BIGINT), CAST(value->>5 AS BIGINT), $2 FROM {}
             ON CONFLICT (limit_name, state, hash, begun, origin) DO UPDATE SET
             used = CASE WHEN excluded.used > quota_usage.used THEN excluded.used
             ELSE quota_usage.used END, reported_at = excluded.reported_at",
            self.json_rows("$1")
        )))
        .bind(Value::Array(values).to_string())
        .bind(to_i64(now.0))
        .execute(&mut **tx)
        .await
        .map(|_| ())
    }

    /// Returns at most `limit` rows that follow `after`: those of credits, and of the day and the
    /// month that began at these times, in Unix ms.
    pub async fn quota_usage(
        &self,
        after: Option<&QuotaUsage>,
        [day, month]: [u64; 2],
        limit: u32,
    ) -> Result<Vec<QuotaUsage>, sqlx::Error> {
        let text = |member: fn(&QuotaUsage) -> &String| after.map_or("", |after| member(after));
        let number = |member: fn(&QuotaUsage) -> u64| to_i64(after.map_or(0, member));
        self.count(Purpose::Usage);
        let rows = sqlx::query(
            "SELECT limit_name, state, hash, begun, origin, used, reported_at FROM quota_usage
             WHERE (limit_name, state, hash, begun, origin) > ($1, $2, $3, $4, $5)
             AND begun IN (0, $6, $7)
             ORDER BY limit_name, state, hash, begun, origin LIMIT $8",
        )
        .bind(text(|after| &after.limit))
        .bind(text(|after| &after.state))
        .bind(text(|after| &after.hash))
        .bind(number(|after| after.begun))
        .bind(number(|after| after.origin))
        .bind(to_i64(day))
        .bind(to_i64(month))
        .bind(i64::from(limit));
        let rows = bounded(rows.fetch_all(&self.readers)).await?;
        rows.iter().map(QuotaUsage::read).collect()
    }

    /// Deletes one batch of rows that are too old, and returns their number. Each statement is a
    /// short transaction of its own.
    pub async fn delete_old_usage(
        &self,
        now: UnixSeconds,
        usage_seconds: u64,
    ) -> Result<u64, sqlx::Error> {
        let ago = |age: u64| to_i64(now.0.saturating_sub(age));
        let mut deleted = 0;
        for (statement, before) in [
            (
                "DELETE FROM usage_hours WHERE (hour, route, issuer, subject, client, key_id) IN
                 (SELECT hour, route, issuer, subject, client, key_id FROM usage_hours
                 WHERE hour < $1 LIMIT 500 /* skip locked */)",
                ago(usage_seconds),
            ),
            (
                "DELETE FROM usage_batches WHERE id IN (SELECT id FROM usage_batches
                 WHERE counted_at < $1 LIMIT 500 /* skip locked */)",
                ago(BATCH_ID_SECONDS),
            ),
            (
                "DELETE FROM quota_usage WHERE (limit_name, state, hash, begun, origin) IN
                 (SELECT limit_name, state, hash, begun, origin FROM quota_usage
                 WHERE begun > 0 AND reported_at < $1 LIMIT 500 /* skip locked */)",
                ago(PERIOD_SECONDS),
            ),
            (
                "DELETE FROM quota_usage WHERE (limit_name, state, hash, begun, origin) IN
                 (SELECT limit_name, state, hash, begun, origin FROM quota_usage
                 WHERE begun = 0 AND reported_at < $1 AND NOT EXISTS (SELECT 1
                 FROM credit_balances WHERE id = quota_usage.limit_name || ':' || quota_usage.hash)
                 LIMIT 500 /* skip locked */)",
                ago(CREDITS_SECONDS),
            ),
        ] {
            self.count(Purpose::Maintenance);
            let statement = self.skipping_locked(statement);
            let result = sqlx::query(statement).bind(before).execute(&self.writer).await?;
            deleted += result.rows_affected();
        }
        Ok(deleted)
    }
}

impl QuotaUsage {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let number = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        Ok(Self {
            limit: row.try_get("limit_name")?,
            state: row.try_get("state")?,
            hash: row.try_get("hash")?,
            begun: number("begun")?,
            origin: number("origin")?,
            used: number("used")?,
            reported_at: number("reported_at")?,
        })
    }
}

/// Returns the uses of the service's own API keys in these rows: the id of each key, and when it
/// was last used, in Unix seconds.
pub fn key_uses<'a>(
    rows: impl IntoIterator<Item = &'a UsageRow>,
    issuer: &str,
) -> Vec<(&'a str, u64)> {
    let mut uses: BTreeMap<&str, u64> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| !row.key.is_empty() && row.issuer == issuer) {
        let last = uses.entry(&row.key).or_default();
        *last = row.last.max(*last);
    }
    uses.into_iter().collect()
}

/// The counts of an hour: its start, the names, and how many requests passed and were refused.
type HourRow<'a> = (u64, [&'a str; 5], (u64, u64));

/// How long the id of a batch is kept: longer than the store keeps the batch.
const BATCH_ID_SECONDS: u64 = 8 * 86_400;
/// How long the counts of a calendar period are kept after the last report: two months.
const PERIOD_SECONDS: u64 = 62 * 86_400;
/// How long the counts of credits are kept after the last report, if their balance is gone.
const CREDITS_SECONDS: u64 = 400 * 86_400;
