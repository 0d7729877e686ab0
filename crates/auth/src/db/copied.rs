//! What of the database the store has as well: what was changed, and samples of it.

use super::pool::{Db, Purpose, to_i64};
use super::revocations::{RevocationKind, SAMPLE_ROWS, place};
use sqlx::AssertSqlSafe;

/// What of the database the store has as well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Copied {
    Revocations(RevocationKind),
    ApiKeys,
    Blocks,
    Quotas,
    Credits,
}

impl Copied {
    /// Returns everything, in the order in which it is republished.
    pub fn all() -> Vec<Self> {
        let mut all: Vec<Self> = RevocationKind::ALL.map(Self::Revocations).into();
        all.extend([Self::ApiKeys, Self::Blocks, Self::Quotas, Self::Credits]);
        all
    }

    /// Returns the table, and its column of the time of the last change.
    fn source(self) -> (&'static str, &'static str) {
        match self {
            Self::Revocations(kind) => {
                let source = kind.source();
                (source.table, source.at)
            }
            Self::ApiKeys => ("api_keys", "changed_at"),
            Self::Blocks => ("blocks", "changed_at"),
            Self::Quotas => ("quota_overrides", "changed_at"),
            Self::Credits => ("credit_balances", "changed_at"),
        }
    }
}

impl Db {
    /// Returns what was changed at this time or later. Mostly that is nothing, and so one query in
    /// the place of ten.
    pub async fn changed_since(&self, since: u64) -> Result<Vec<Copied>, sqlx::Error> {
        let all = Copied::all();
        let parts = all.iter().enumerate().map(|(place, copied)| {
            let (table, at) = copied.source();
            format!(
                "SELECT CAST({place} AS BIGINT) AS place
                 WHERE EXISTS (SELECT 1 FROM {table} WHERE {at} IS NOT NULL AND {at} >= $1)"
            )
        });
        let statement = parts.collect::<Vec<_>>().join(" UNION ALL ");
        self.count(Purpose::Maintenance);
        let rows = sqlx::query(AssertSqlSafe(statement))
            .bind(to_i64(since))
            .fetch_all(&self.readers)
            .await?;
        let mut changed = Vec::new();
        for row in &rows {
            changed.extend(all.get(place(row)?).copied());
        }
        Ok(changed)
    }
}

/// Returns a query for some rows that meet a condition: the first ones after the hash $1, and then
/// the first of all. It may return a row twice.
pub(super) fn sample_statement(
    columns: &str,
    table: &str,
    condition: &str,
) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SELECT {columns} FROM (SELECT 0 AS place, {columns} FROM (SELECT {columns} FROM {table}
         WHERE hash > $1 AND {condition} ORDER BY hash LIMIT {SAMPLE_ROWS}) AS a
         UNION ALL SELECT 1 AS place, {columns} FROM (SELECT {columns} FROM {table}
         WHERE {condition} ORDER BY hash LIMIT {SAMPLE_ROWS}) AS b) AS found
         ORDER BY place LIMIT {SAMPLE_ROWS}"
    ))
}
