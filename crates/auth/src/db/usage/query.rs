//! Adds up the counts of hours, grouped by columns.

use crate::db::pool::{Db, Purpose, to_i64};
use sqlx::{AssertSqlSafe, Row as _};

/// A column by which usage is grouped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UsageColumn {
    Client,
    Day,
    Hour,
    Issuer,
    Key,
    Route,
    Subject,
}

/// A value of a column.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UsageValue {
    Number(u64),
    Text(String),
}

/// The rows that are added up.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UsageFilter {
    /// The first hour, in Unix seconds.
    pub from: u64,
    /// The end, in Unix seconds, which is not included.
    pub to: u64,
    pub issuer: Option<String>,
    pub subject: Option<String>,
    pub client: Option<String>,
    pub key: Option<String>,
    pub route: Option<String>,
}

/// A question about usage.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UsageQuery {
    /// The columns by which it is grouped and sorted, each once.
    pub by: Vec<UsageColumn>,
    pub filter: UsageFilter,
    /// The values of the last row of the page before.
    pub after: Option<Vec<UsageValue>>,
    /// The most rows.
    pub limit: u32,
}

/// What a group of hours adds up to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsageTotals {
    /// The values of the columns, in their order.
    pub values: Vec<UsageValue>,
    pub passed: u64,
    pub refused: u64,
}

/// Rows that follow each other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UsagePage {
    pub rows: Vec<UsageTotals>,
    /// Whether more rows follow.
    pub has_more: bool,
}

impl UsageColumn {
    /// Every column.
    pub const ALL: [Self; 7] =
        [Self::Client, Self::Day, Self::Hour, Self::Issuer, Self::Key, Self::Route, Self::Subject];

    /// Returns the name in requests and responses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Day => "day",
            Self::Hour => "hour",
            Self::Issuer => "issuer",
            Self::Key => "key",
            Self::Route => "route",
            Self::Subject => "subject",
        }
    }

    /// Returns whether its values are times in Unix seconds.
    pub fn is_time(self) -> bool {
        matches!(self, Self::Day | Self::Hour)
    }

    fn sql(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Day => "(hour - hour % 86400)",
            Self::Hour => "hour",
            Self::Issuer => "issuer",
            Self::Key => "key_id",
            Self::Route => "route",
            Self::Subject => "subject",
        }
    }
}

impl Db {
    /// Returns one page of what the counts of hours add up to.
    pub async fn usage(&self, wanted: &UsageQuery) -> Result<UsagePage, sqlx::Error> {
        let filter = &wanted.filter;
        let mut texts: Vec<&str> = Vec::new();
        let mut statement = String::from("hour >= $1 AND hour < $2");
        for (column, value) in [
            ("issuer", &filter.issuer),
            ("subject", &filter.subject),
            ("client", &filter.client),
            ("key_id", &filter.key),
            ("route", &filter.route),
        ] {
            if let Some(value) = value {
                texts.push(value);
                statement += &format!(" AND {column} = ${}", texts.len() + FIRST_TEXT - 1);
            }
        }
        let columns: Vec<&str> = wanted.by.iter().map(|column| column.sql()).collect();
        let columns = columns.join(", ");
        let after = wanted.after.as_deref().filter(|_| !wanted.by.is_empty()).unwrap_or_default();
        if !after.is_empty() {
            let first = texts.len() + FIRST_TEXT;
            let places: Vec<String> =
                (first..first + after.len()).map(|place| format!("${place}")).collect();
            statement += &format!(" AND ({columns}) > ({})", places.join(", "));
        }
        // A sum is NUMERIC in Postgres.
        let sums = "CAST(COALESCE(SUM(passed), 0) AS BIGINT) AS passed_sum,
             CAST(COALESCE(SUM(refused), 0) AS BIGINT) AS refused_sum";
        let statement = match wanted.by.is_empty() {
            true => format!("SELECT {sums} FROM usage_hours WHERE {statement} LIMIT $3"),
            false => {
                let named: Vec<String> = wanted
                    .by
                    .iter()
                    .map(|by| format!("{} AS by_{}", by.sql(), by.name()))
                    .collect();
                format!(
                    "SELECT {}, {sums} FROM usage_hours WHERE {statement}
                     GROUP BY {columns} ORDER BY {columns} LIMIT $3",
                    named.join(", ")
                )
            }
        };
        self.count(Purpose::Request);
        let mut query = sqlx::query(AssertSqlSafe(statement))
            .bind(to_i64(filter.from))
            .bind(to_i64(filter.to))
            .bind(i64::from(wanted.limit) + 1);
        for text in texts {
            query = query.bind(text.to_owned());
        }
        for value in after {
            query = match value {
                UsageValue::Number(number) => query.bind(to_i64(*number)),
                UsageValue::Text(text) => query.bind(text.clone()),
            };
        }
        let found = query.fetch_all(&self.searchers).await?;
        let limit = usize::try_from(wanted.limit).unwrap_or(usize::MAX);
        let mut page = UsagePage { rows: Vec::new(), has_more: found.len() > limit };
        for row in found.iter().take(limit) {
            let number = |name: &str| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
            let value = |by: &UsageColumn| {
                let name = format!("by_{}", by.name());
                Ok::<_, sqlx::Error>(match by.is_time() {
                    true => UsageValue::Number(number(&name)?),
                    false => UsageValue::Text(row.try_get(name.as_str())?),
                })
            };
            page.rows.push(UsageTotals {
                values: wanted.by.iter().map(value).collect::<Result<_, _>>()?,
                passed: number("passed_sum")?,
                refused: number("refused_sum")?,
            });
        }
        Ok(page)
    }
}

/// The place of the first text among a statement's parameters: after two times and the limit.
const FIRST_TEXT: usize = 4;
