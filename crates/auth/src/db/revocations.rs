//! The revocations that the store must have.

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

    /// Returns how many revocations of this kind a sample has at most: few of those of which there
    /// are few.
    fn sample_rows(self) -> usize {
        match self {
            Self::Session | Self::Token => SAMPLE_ROWS,
            Self::User | Self::UserTokens | Self::Client | Self::ClientTokens => 1,
        }
    }

    /// Returns where the revocations are.
    pub(super) fn source(self) -> Source {
        let (table, id, at, condition) = match self {
            Self::Session => ("sessions", "id", "revoked_at", ""),
            Self::Token => ("revoked_tokens", "jti", "revoked_at", ""),
            Self::User => ("users", "id", "disabled_at", ""),
            Self::UserTokens => ("users", "id", "tokens_revoked_at", " AND disabled_at IS NULL"),
            Self::Client => ("clients", "id", "disabled_at", ""),
            Self::ClientTokens => {
                ("clients", "id", "tokens_revoked_at", " AND disabled_at IS NULL")
            }
        };
        Source { table, id, at, condition }
    }
}

/// A table with revocations, and its columns.
pub(super) struct Source {
    pub table: &'static str,
    id: &'static str,
    pub at: &'static str,
    /// What else holds of a row that is one.
    condition: &'static str,
}

impl Db {
    /// Returns at most `limit` revocations that follow `after`, oldest first.
    pub async fn revocations(
        &self,
        kind: RevocationKind,
        after: &Revocation,
        limit: u32,
    ) -> Result<Vec<Revocation>, sqlx::Error> {
        let Source { table, id, at, condition } = kind.source();
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

    /// Returns some revocations of each kind of the time from `oldest` to `newest`: the first ones
    /// after `start`, or if these are too few, the oldest ones as well. It may return a revocation
    /// twice.
    pub async fn sample_revocations(
        &self,
        [start, oldest, newest]: [u64; 3],
    ) -> Result<Vec<(RevocationKind, String)>, sqlx::Error> {
        let kinds = RevocationKind::ALL;
        let parts = (0..2 * kinds.len()).filter_map(|place| {
            let kind = kinds.get(place / 2)?;
            let (Source { table, id, at, condition }, rows) = (kind.source(), kind.sample_rows());
            let from = place % 2 + 1;
            Some(format!(
                "SELECT CAST({place} AS BIGINT) AS place, name FROM (
                 SELECT {id} AS name FROM {table} WHERE {at} IS NOT NULL{condition}
                 AND {at} >= ${from} AND {at} <= $3 ORDER BY {at}, {id} LIMIT {rows}
                 ) AS part{place}"
            ))
        });
        let parts = parts.collect::<Vec<_>>().join(" UNION ALL ");
        let statement = format!("{parts} ORDER BY place");
        self.count(Purpose::Maintenance);
        let rows = sqlx::query(AssertSqlSafe(statement))
            .bind(to_i64(start))
            .bind(to_i64(oldest))
            .bind(to_i64(newest))
            .fetch_all(&self.readers)
            .await?;
        let mut found: Vec<(RevocationKind, String)> = Vec::new();
        for row in &rows {
            let Some(kind) = kinds.get(place(row)? / 2) else { continue };
            if found.iter().filter(|(own, _)| own == kind).count() < kind.sample_rows() {
                found.push((*kind, row.try_get("name")?));
            }
        }
        Ok(found)
    }
}

/// How many rows of one kind a sample has at most.
pub(super) const SAMPLE_ROWS: usize = 5;

/// Returns the place of a row's part in a query of many parts.
pub(super) fn place(row: &AnyRow) -> Result<usize, sqlx::Error> {
    let place: i64 = row.try_get("place")?;
    Ok(usize::try_from(place).unwrap_or(usize::MAX))
}
