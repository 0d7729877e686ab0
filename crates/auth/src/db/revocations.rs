//! The revocations that the store must have, and which of its data was changed recently.

use super::pool::{Db, Purpose, to_i64};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

/// A revocation: the id of what was revoked, and when.
pub struct Revocation {
    pub id: String,
    pub at: u64,
}

/// The kind of what was revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RevocationKind {
    Session,
    /// One access token.
    Token,
    /// All sessions of a disabled user.
    User,
    /// The access tokens of a user up to a time.
    UserTokens,
    /// All tokens of a disabled or deleted client.
    Client,
    /// The tokens of a client up to a time.
    ClientTokens,
}

impl RevocationKind {
    pub const ALL: [Self; 6] = [
        Self::Session,
        Self::Token,
        Self::User,
        Self::UserTokens,
        Self::Client,
        Self::ClientTokens,
    ];

    /// Returns the table of the revocations, its columns of their id and time, and what else holds
    /// of a revocation.
    fn source(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::Session => ("sessions", "id", "revoked_at", ""),
            Self::Token => ("revoked_tokens", "jti", "revoked_at", ""),
            Self::User => ("users", "id", "disabled_at", ""),
            Self::UserTokens => ("users", "id", "tokens_revoked_at", " AND disabled_at IS NULL"),
            Self::Client => ("clients", "id", "disabled_at", ""),
            Self::ClientTokens => {
                ("clients", "id", "tokens_revoked_at", " AND disabled_at IS NULL")
            }
        }
    }
}

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
                let (table, _, at, _) = kind.source();
                (table, at)
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

    /// Returns at most `limit` revocations that follow `after`, oldest first.
    pub async fn revocations(
        &self,
        kind: RevocationKind,
        after: &Revocation,
        limit: u32,
    ) -> Result<Vec<Revocation>, sqlx::Error> {
        let (table, id, at, condition) = kind.source();
        let statement = format!(
            "SELECT {id} AS name, {at} AS at FROM {table} WHERE {at} IS NOT NULL{condition}
             AND ({at} > $1 OR ({at} = $1 AND {id} > $2)) ORDER BY {at}, {id} LIMIT $3"
        );
        self.count(Purpose::Maintenance);
        let rows = sqlx::query(AssertSqlSafe(statement))
            .bind(to_i64(after.at))
            .bind(after.id.as_str())
            .bind(i64::from(limit))
            .fetch_all(&self.readers)
            .await?;
        let rows = rows.iter().map(|row| {
            let at: i64 = row.try_get("at")?;
            Ok(Revocation { id: row.try_get("name")?, at: at.unsigned_abs() })
        });
        rows.collect()
    }

    /// Returns a revocation of the time from `oldest` to `newest`: the first one after `start`, or
    /// else the oldest one. If there is none of this kind, returns one of a session.
    pub async fn sample_revocation(
        &self,
        kind: RevocationKind,
        [start, oldest, newest]: [u64; 3],
    ) -> Result<Option<(RevocationKind, String)>, sqlx::Error> {
        let kinds = [kind, kind, RevocationKind::Session, RevocationKind::Session];
        let parts = kinds.iter().enumerate().map(|(place, kind)| {
            let (table, id, at, condition) = kind.source();
            let from = place % 2 + 1;
            format!(
                "SELECT CAST({place} AS BIGINT) AS place, name FROM (
                 SELECT {id} AS name FROM {table} WHERE {at} IS NOT NULL{condition}
                 AND {at} >= ${from} AND {at} <= $3 ORDER BY {at}, {id} LIMIT 1) AS part{place}"
            )
        });
        let statement = parts.collect::<Vec<_>>().join(" UNION ALL ") + " ORDER BY place LIMIT 1";
        self.count(Purpose::Maintenance);
        let row = sqlx::query(AssertSqlSafe(statement))
            .bind(to_i64(start))
            .bind(to_i64(oldest))
            .bind(to_i64(newest))
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let kind = kinds.get(place(&row)?).copied().unwrap_or(kind);
        Ok(Some((kind, row.try_get("name")?)))
    }
}

/// Returns a query for a row that meets a condition: the first one after the hash $1, or else the
/// first of all.
pub(super) fn sample_statement(
    columns: &str,
    table: &str,
    condition: &str,
) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "SELECT {columns} FROM (SELECT 0 AS place, {columns} FROM (SELECT {columns} FROM {table}
         WHERE hash > $1 AND {condition} ORDER BY hash LIMIT 1) AS a
         UNION ALL SELECT 1 AS place, {columns} FROM (SELECT {columns} FROM {table}
         WHERE {condition} ORDER BY hash LIMIT 1) AS b) AS found ORDER BY place LIMIT 1"
    ))
}

fn place(row: &AnyRow) -> Result<usize, sqlx::Error> {
    let place: i64 = row.try_get("place")?;
    Ok(usize::try_from(place).unwrap_or(usize::MAX))
}
