//! The conditions of a list that depend on its request.

use super::pool::{Db, Purpose, to_i64};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row as _};

/// Conditions and their values. The texts of conditions are constants of this program; whatever
/// comes from a request is a value.
#[derive(Default)]
pub(super) struct Filter {
    conditions: Vec<String>,
    values: Vec<Value>,
}

enum Value {
    Number(i64),
    Text(String),
}

impl Filter {
    /// Adds a number, and returns its place in the statement.
    pub(super) fn number(&mut self, number: u64) -> String {
        self.values.push(Value::Number(to_i64(number)));
        format!("${}", self.values.len())
    }

    /// Adds a text, and returns its place in the statement.
    pub(super) fn text(&mut self, text: &str) -> String {
        self.values.push(Value::Text(text.to_owned()));
        format!("${}", self.values.len())
    }

    /// Adds a condition.
    pub(super) fn require(&mut self, condition: impl Into<String>) {
        self.conditions.push(condition.into());
    }

    /// Requires that a column has this text.
    pub(super) fn equal(&mut self, column: &str, text: &str) {
        let place = self.text(text);
        self.require(format!("{column} = {place}"));
    }

    /// Returns the condition that a column begins with `prefix`, byte by byte. It is a range, so
    /// that an index finds it, and no character of the prefix is a wildcard.
    pub(super) fn begins(&mut self, column: &str, prefix: &str) -> String {
        let (from, to) = (self.text(prefix), self.text(&format!("{prefix}{LAST}")));
        format!("({column} /* bytewise */ >= {from} AND {column} /* bytewise */ < {to})")
    }

    /// Returns the condition that a column begins with `prefix` in lower or upper case.
    pub(super) fn begins_in_any_case(&mut self, column: &str, prefix: &str) -> String {
        let (from, to) = (self.text(prefix), self.text(&format!("{prefix}{LAST}")));
        format!(
            "(lower({column}) /* bytewise */ >= lower(CAST({from} AS TEXT))
             AND lower({column}) /* bytewise */ < lower(CAST({to} AS TEXT)))"
        )
    }

    /// Returns all conditions as one.
    pub(super) fn conditions(&self) -> String {
        match self.conditions.is_empty() {
            true => "1 = 1".to_owned(),
            false => self.conditions.join(" AND "),
        }
    }

    /// Runs a statement with the values.
    pub(super) async fn fetch(self, db: &Db, statement: &str) -> Result<Vec<AnyRow>, sqlx::Error> {
        db.count(Purpose::Request);
        let mut query = sqlx::query(AssertSqlSafe(db.bytewise(statement)));
        for value in self.values {
            query = match value {
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
            };
        }
        query.fetch_all(&db.searchers).await
    }
}

/// Reads a time of a row.
pub(super) fn time(row: &AnyRow, name: &str) -> Result<Option<u64>, sqlx::Error> {
    Ok(row.try_get::<Option<i64>, _>(name)?.map(i64::unsigned_abs))
}

/// Reads a number of a row.
pub(super) fn number(row: &AnyRow, name: &str) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(name).map(i64::unsigned_abs)
}

/// The last character, behind every text that begins with a prefix.
const LAST: char = '\u{10FFFF}';
