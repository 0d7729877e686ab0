//! Time series: what the edges and this service counted in each minute and hour.

mod packed;
mod query;

pub use packed::{Counters, add_counters};

use super::pool::{Db, Purpose, Tx, bounded, to_i64};
use crate::random::random_id;
use packed::{Names, OTHER, Packed};
use portcullis_core::UnixSeconds;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::{BTreeMap, BTreeSet};

/// The counters of the edges as some process read them last.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SeriesState {
    /// Changes with each reading that is stored; empty before the first one.
    pub version: String,
    /// When they were read, in Unix seconds.
    pub at: u64,
    pub counters: Counters,
}

/// What the edges have counted since the last reading.
pub struct EdgeCounts {
    /// The version of the state from which the differences were made.
    pub version: String,
    /// The counters as they are now.
    pub counters: Counters,
    /// The differences, by the start of their minute.
    pub minutes: Vec<(u64, Counters)>,
}

impl Db {
    /// Returns the counters of the edges as they were read last.
    pub async fn series_state(&self) -> Result<SeriesState, sqlx::Error> {
        self.count(Purpose::Series);
        let query = sqlx::query("SELECT version, at, data FROM series_state WHERE id = 1");
        let row = bounded(query.fetch_one(&self.readers)).await?;
        let (at, data): (i64, String) = (row.try_get("at")?, row.try_get("data")?);
        // Text that can't be read counts as no counters: the next differences begin at zero.
        let counters = serde_json::from_str(&data).unwrap_or_default();
        Ok(SeriesState { version: row.try_get("version")?, at: at.unsigned_abs(), counters })
    }

    /// Adds what the edges have counted, unless another process did so since the state was read,
    /// and what this process has counted in one minute. Returns whether the edges' counted.
    pub async fn add_series(
        &self,
        edges: Option<&EdgeCounts>,
        own: (u64, &Counters),
        now: UnixSeconds,
    ) -> Result<bool, sqlx::Error> {
        let mut tx = self.begin().await?;
        let version = self.lock_series(&mut tx).await?;
        let edges = edges.filter(|edges| edges.version == version);
        let mut minutes: BTreeMap<u64, Vec<&Counters>> = BTreeMap::new();
        for (start, counters) in edges.iter().flat_map(|edges| &edges.minutes) {
            minutes.entry(*start).or_default().push(counters);
        }
        if !own.1.is_empty() {
            minutes.entry(own.0).or_default().push(own.1);
        }
        self.add_minutes(&mut tx, &minutes, now).await?;
        if let Some(edges) = edges {
            self.count(Purpose::Series);
            let text = serde_json::to_string(&edges.counters).unwrap_or_default();
            sqlx::query("UPDATE series_state SET version = $1, at = $2, data = $3 WHERE id = 1")
                .bind(random_id())
                .bind(to_i64(now.0))
                .bind(text)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(edges.is_some())
    }

    /// Locks the series against other writers until the transaction ends. Returns the version of
    /// the state.
    async fn lock_series(&self, tx: &mut Tx) -> Result<String, sqlx::Error> {
        self.count(Purpose::Series);
        let statement = "UPDATE series_state SET at = at WHERE id = 1 RETURNING version";
        sqlx::query(statement).fetch_one(&mut **tx).await?.try_get("version")
    }

    async fn add_minutes(
        &self,
        tx: &mut Tx,
        minutes: &BTreeMap<u64, Vec<&Counters>>,
        now: UnixSeconds,
    ) -> Result<(), sqlx::Error> {
        let (Some((first, _)), Some((last, _))) =
            (minutes.first_key_value(), minutes.last_key_value())
        else {
            return Ok(());
        };
        let mut names = self.names(tx).await?;
        let mut stored = self.packed(tx, MINUTE, *first, *last).await?;
        let (mut used, mut rows) = (BTreeSet::new(), Vec::new());
        for (start, counted) in minutes {
            let mut data = stored.remove(start).unwrap_or_default();
            for counters in counted {
                let added = names.pack(counters);
                used.extend(added.ids());
                data.add(&added, &names);
            }
            data.bound(&mut names);
            // With the name of the surplus, which no counter has.
            used.extend(data.ids());
            rows.push((*start, data.text()));
        }
        self.put(tx, MINUTE, &rows).await?;
        self.add_names(tx, &mut names, now).await?;
        let idle = to_i64(now.0.saturating_sub(TOUCH_SECONDS));
        let touched = used.into_iter().filter(|id| names.used_at(*id) < idle);
        let touched: Vec<Value> = touched.map(|id| json!([id])).collect();
        if !touched.is_empty() {
            self.count(Purpose::Series);
            let touch = sqlx::query(AssertSqlSafe(format!(
                "UPDATE series_names SET used_at = $2
                 WHERE id IN (SELECT CAST(value->>0 AS BIGINT) FROM {})",
                self.json_rows("$1")
            )));
            let touch = touch.bind(Value::Array(touched).to_string()).bind(to_i64(now.0));
            touch.execute(&mut **tx).await?;
        }
        Ok(())
    }

    async fn names(&self, tx: &mut Tx) -> Result<Names, sqlx::Error> {
        self.count(Purpose::Series);
        let rows = sqlx::query("SELECT id, name, used_at FROM series_names").fetch_all(&mut **tx);
        let mut names = Names::default();
        for row in rows.await? {
            names.insert(row.try_get("id")?, row.try_get("name")?, row.try_get("used_at")?);
        }
        Ok(names)
    }

    /// Stores the new names.
    async fn add_names(
        &self,
        tx: &mut Tx,
        names: &mut Names,
        now: UnixSeconds,
    ) -> Result<(), sqlx::Error> {
        let added = names.take_added();
        if added.is_empty() {
            return Ok(());
        }
        let values: Value = added.iter().map(|(id, name)| json!([id, name])).collect();
        self.count(Purpose::Series);
        sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO series_names (id, name, used_at)
             SELECT CAST(value->>0 AS BIGINT), value->>1, $2 FROM {}",
            self.json_rows("$1")
        )))
        .bind(values.to_string())
        .bind(to_i64(now.0))
        .execute(&mut **tx)
        .await
        .map(|_| ())
    }

    /// Returns the rows from `first` to `last`, by their start.
    async fn packed(
        &self,
        tx: &mut Tx,
        span: &str,
        first: u64,
        last: u64,
    ) -> Result<BTreeMap<u64, Packed>, sqlx::Error> {
        self.count(Purpose::Series);
        let rows = sqlx::query(
            "SELECT start, data FROM series WHERE span = $1 AND start >= $2 AND start <= $3",
        );
        let rows = rows.bind(span).bind(to_i64(first)).bind(to_i64(last));
        let rows = rows.fetch_all(&mut **tx).await?;
        let rows = rows.iter().map(|row| {
            let (start, data): (i64, String) = (row.try_get("start")?, row.try_get("data")?);
            Ok((start.unsigned_abs(), Packed::read(&data)))
        });
        rows.collect()
    }

    /// Writes rows: their starts and their data.
    async fn put(
        &self,
        tx: &mut Tx,
        span: &str,
        rows: &[(u64, String)],
    ) -> Result<(), sqlx::Error> {
        let values: Value = rows.iter().map(|(start, data)| json!([start, data])).collect();
        self.count(Purpose::Series);
        sqlx::query(AssertSqlSafe(format!(
            "INSERT INTO series (span, start, data)
             SELECT $2, CAST(value->>0 AS BIGINT), value->>1 FROM {}
             ON CONFLICT (span, start) DO UPDATE SET data = excluded.data",
            self.json_rows("$1")
        )))
        .bind(values.to_string())
        .bind(span)
        .execute(&mut **tx)
        .await
        .map(|_| ())
    }

    /// Adds up the minutes of one hour, if all of them are old, and deletes them. Returns their
    /// number.
    pub async fn roll_up_series(&self, now: UnixSeconds) -> Result<u64, sqlx::Error> {
        let end = now.0.saturating_sub(MINUTES_KEPT_SECONDS);
        // Without a lock first: most often no minute is old enough.
        if self.oldest_series(MINUTE).await?.is_none_or(|start| hour_of(start) + HOUR_SECONDS > end)
        {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        self.lock_series(&mut tx).await?;
        self.count(Purpose::Series);
        let oldest = sqlx::query("SELECT MIN(start) AS oldest FROM series WHERE span = $1");
        let oldest = oldest.bind(MINUTE).fetch_one(&mut *tx).await?;
        let oldest: Option<i64> = oldest.try_get("oldest")?;
        let Some(hour) = oldest
            .map(|start| hour_of(start.unsigned_abs()))
            .filter(|hour| hour + HOUR_SECONDS <= end)
        else {
            return Ok(0);
        };
        let mut names = self.names(&mut tx).await?;
        let mut sum =
            self.packed(&mut tx, HOUR, hour, hour).await?.remove(&hour).unwrap_or_default();
        for minute in self.packed(&mut tx, MINUTE, hour, hour + HOUR_SECONDS - 1).await?.values() {
            sum.add(minute, &names);
        }
        // An hour may have more names than each of its minutes.
        sum.bound(&mut names);
        self.add_names(&mut tx, &mut names, now).await?;
        self.put(&mut tx, HOUR, &[(hour, sum.text())]).await?;
        self.count(Purpose::Series);
        let delete =
            sqlx::query("DELETE FROM series WHERE span = $1 AND start >= $2 AND start < $3");
        let delete = delete.bind(MINUTE).bind(to_i64(hour)).bind(to_i64(hour + HOUR_SECONDS));
        let deleted = delete.execute(&mut *tx).await?.rows_affected();
        tx.commit().await?;
        Ok(deleted)
    }

    /// Deletes one batch of hours that are too old, or the names that only such hours had. Returns
    /// their number. The name of the surplus stays, since sums of any age may use it.
    pub async fn delete_old_series(
        &self,
        now: UnixSeconds,
        kept_seconds: u64,
    ) -> Result<u64, sqlx::Error> {
        let before = now.0.saturating_sub(kept_seconds.max(MINUTES_KEPT_SECONDS));
        if self.oldest_series(HOUR).await?.is_some_and(|start| start < before) {
            self.count(Purpose::Series);
            let delete = sqlx::query(
                "DELETE FROM series WHERE span = $1 AND start IN
                 (SELECT start FROM series WHERE span = $1 AND start < $2 ORDER BY start LIMIT 500)",
            );
            let delete = delete.bind(HOUR).bind(to_i64(before)).execute(&self.writer).await?;
            return Ok(delete.rows_affected());
        }
        // A name is touched at most a day after its use, and its minutes are kept for a day.
        let unused = to_i64(before.saturating_sub(4 * TOUCH_SECONDS));
        self.count(Purpose::Series);
        let oldest =
            sqlx::query("SELECT MIN(used_at) AS oldest FROM series_names WHERE name <> $1");
        let oldest = bounded(oldest.bind(OTHER).fetch_one(&self.readers)).await?;
        let oldest: Option<i64> = oldest.try_get("oldest")?;
        if oldest.is_none_or(|oldest| oldest >= unused) {
            return Ok(0);
        }
        let mut tx = self.begin().await?;
        self.lock_series(&mut tx).await?;
        self.count(Purpose::Series);
        let delete = sqlx::query("DELETE FROM series_names WHERE used_at < $1 AND name <> $2");
        let delete = delete.bind(unused).bind(OTHER);
        let deleted = delete.execute(&mut *tx).await?.rows_affected();
        tx.commit().await?;
        Ok(deleted)
    }

    /// Returns when the oldest row of a span starts.
    async fn oldest_series(&self, span: &str) -> Result<Option<u64>, sqlx::Error> {
        self.count(Purpose::Series);
        let oldest = sqlx::query("SELECT MIN(start) AS oldest FROM series WHERE span = $1");
        let row = bounded(oldest.bind(span).fetch_one(&self.readers)).await?;
        let start: Option<i64> = row.try_get("oldest")?;
        Ok(start.map(i64::unsigned_abs))
    }
}

fn hour_of(start: u64) -> u64 {
    start - start % HOUR_SECONDS
}

const MINUTE: &str = "minute";
const HOUR: &str = "hour";
const HOUR_SECONDS: u64 = 3600;
/// How long minutes are kept before they are added up.
const MINUTES_KEPT_SECONDS: u64 = 86_400;
/// How much later than its use a name is touched.
const TOUCH_SECONDS: u64 = 86_400;

#[cfg(test)]
mod tests;
