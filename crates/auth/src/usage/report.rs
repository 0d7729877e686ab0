//! The questions about usage, and the answers as JSON and CSV.

use super::csv::write_line;
use crate::db::{UsageColumn, UsageFilter, UsagePage, UsageQuery, UsageTotals, UsageValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::UnixSeconds;
use serde_json::{Map, Value, json};

/// The form of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UsageFormat {
    Csv,
    Json,
}

/// A question about usage, as a client asks it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UsageQuestion {
    pub query: UsageQuery,
    /// The form; `None` if the client did not name one.
    pub format: Option<UsageFormat>,
}

impl UsageQuestion {
    /// Reads the parameters of a request, or the options of a command. Without `from`, the question
    /// is about the last 30 days.
    ///
    /// # Errors
    ///
    /// What is wrong with the first invalid parameter.
    pub fn read<'a>(
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
        now: UnixSeconds,
    ) -> Result<Self, &'static str> {
        let mut given: Vec<(&str, &str)> = Vec::new();
        for (name, value) in parameters {
            if given.iter().any(|(own, _)| *own == name) {
                return Err("a parameter of the query is given twice; give it once");
            }
            given.push((name, value));
        }
        let mut take = |wanted: &str| {
            let place = given.iter().position(|(name, _)| *name == wanted)?;
            Some(given.swap_remove(place).1)
        };
        let by = columns(take("by").unwrap_or_default())?;
        let to =
            take("to").map_or(Some(now.0 + 1), |text| time(text).map(next_hour)).ok_or(TIME)?;
        let from =
            take("from").map_or(Some(to.saturating_sub(DEFAULT_SECONDS)), time).ok_or(TIME)?;
        let from = from - from % HOUR_SECONDS;
        if to.saturating_sub(from) > SPAN_SECONDS_MAX {
            return Err("from and to are more than 366 days apart; ask for less at once");
        }
        let after = match take("after") {
            None => None,
            Some(cursor) => Some(read_cursor(cursor, &by).ok_or(
                "after is no cursor of this query; give the member next of a page before",
            )?),
        };
        let limit = match take("limit") {
            None => PAGE_MAX,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=PAGE_MAX).contains(limit))
                .ok_or("limit is invalid; give 1 to 10000")?,
        };
        let format = match take("format") {
            None => None,
            Some("csv") => Some(UsageFormat::Csv),
            Some("json") => Some(UsageFormat::Json),
            Some(_) => return Err("format is unknown; give csv or json"),
        };
        let mut name = |wanted: &str| match take(wanted) {
            Some(text) if text.len() > NAME_LENGTH_MAX || text.contains('\0') => {
                Err("a name in the query is too long, or contains NUL")
            }
            text => Ok(text.map(str::to_owned)),
        };
        let filter = UsageFilter {
            from,
            to,
            issuer: name("issuer")?,
            subject: name("subject")?,
            client: name("client")?,
            key: name("key")?,
            route: name("route")?,
        };
        if !given.is_empty() {
            return Err("a parameter of the query is unknown; see this endpoint's documentation");
        }
        Ok(Self { query: UsageQuery { by, filter, after, limit }, format })
    }

    /// Returns the cursor of the page after this one; `None` if it is the last.
    pub fn next(page: &UsagePage) -> Option<String> {
        let last = page.rows.last().filter(|_| page.has_more)?;
        let values: Vec<Value> = last.values.iter().map(value_json).collect();
        Some(URL_SAFE_NO_PAD.encode(Value::Array(values).to_string()))
    }

    /// Returns a page as JSON.
    pub fn json(&self, page: &UsagePage) -> Value {
        let rows: Vec<Value> = page.rows.iter().map(|row| self.row_json(row)).collect();
        json!({ "usage": rows, "next": Self::next(page) })
    }

    /// Returns a row as JSON.
    pub fn row_json(&self, row: &UsageTotals) -> Value {
        let names = self.query.by.iter().map(|by| by.name().to_owned());
        let mut members: Map<String, Value> =
            names.zip(row.values.iter().map(value_json)).collect();
        members.insert("passed".to_owned(), row.passed.into());
        members.insert("refused".to_owned(), row.refused.into());
        Value::Object(members)
    }

    /// Returns a page as CSV, with the names of the columns in the first line if `with_names`.
    pub fn csv(&self, page: &UsagePage, with_names: bool) -> String {
        let mut text = String::new();
        if with_names {
            let names = self.query.by.iter().map(|by| by.name());
            write_line(names.chain(["passed", "refused"]), &mut text);
        }
        for row in &page.rows {
            let cells = row.values.iter().map(|value| match value {
                UsageValue::Number(number) => number.to_string(),
                UsageValue::Text(text) => text.clone(),
            });
            let counts = [row.passed.to_string(), row.refused.to_string()];
            let cells: Vec<String> = cells.chain(counts).collect();
            write_line(cells.iter().map(String::as_str), &mut text);
        }
        text
    }
}

/// Reads the names of columns, separated by commas. A subject or a client has its issuer as well,
/// because two issuers may use the same name.
fn columns(text: &str) -> Result<Vec<UsageColumn>, &'static str> {
    let mut by = Vec::new();
    for name in text.split(',').filter(|name| !name.is_empty()) {
        let column = UsageColumn::ALL.into_iter().find(|column| column.name() == name);
        let column = column.ok_or(
            "by has an unknown name; give client, day, hour, issuer, key, route or subject, \
             separated by commas",
        )?;
        if matches!(column, UsageColumn::Client | UsageColumn::Subject)
            && !by.contains(&UsageColumn::Issuer)
        {
            by.push(UsageColumn::Issuer);
        }
        if !by.contains(&column) {
            by.push(column);
        }
    }
    Ok(by)
}

/// Reads a time: Unix seconds, or a date of RFC 3339 such as 2026-11-30, which is its beginning in
/// UTC.
pub fn time(text: &str) -> Option<u64> {
    if text.len() <= 15 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let mut parts = text.splitn(3, '-');
    let mut part = |length: usize| {
        let part = parts.next()?;
        let is_number = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<u64>().ok())?
    };
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days_of_month = match month {
        2 => 28 + u64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if year < 1970 || !(1..=days_of_month).contains(&day) {
        return None;
    }
    // Years begin in March, so that a leap day is a year's last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some((days - DAYS_BEFORE_1970) * 86_400)
}

/// Returns the next whole hour, or the same if it is one.
fn next_hour(time: u64) -> u64 {
    time.div_ceil(HOUR_SECONDS) * HOUR_SECONDS
}

fn read_cursor(cursor: &str, by: &[UsageColumn]) -> Option<Vec<UsageValue>> {
    let bytes =
        URL_SAFE_NO_PAD.decode(cursor).ok().filter(|_| cursor.len() <= CURSOR_LENGTH_MAX)?;
    let values: Vec<Value> = serde_json::from_slice(&bytes).ok()?;
    if values.len() != by.len() || by.is_empty() {
        return None;
    }
    let value = |(value, column): (Value, &UsageColumn)| match (value, column.is_time()) {
        (Value::Number(number), true) => number.as_u64().map(UsageValue::Number),
        (Value::String(text), false) => (!text.contains('\0')).then_some(UsageValue::Text(text)),
        _ => None,
    };
    values.into_iter().zip(by).map(value).collect()
}

fn value_json(value: &UsageValue) -> Value {
    match value {
        UsageValue::Number(number) => (*number).into(),
        UsageValue::Text(text) => text.as_str().into(),
    }
}

const TIME: &str = "from or to is invalid; give Unix seconds, or a date such as 2026-11-30";
const HOUR_SECONDS: u64 = 3600;
/// How far back a question without `from` goes.
const DEFAULT_SECONDS: u64 = 30 * 86_400;
const SPAN_SECONDS_MAX: u64 = 367 * 86_400;
/// The most rows of a page.
pub const PAGE_MAX: u32 = 10_000;
/// A length above that of every name in the table.
const NAME_LENGTH_MAX: usize = 256;
const CURSOR_LENGTH_MAX: usize = 4096;
/// The days from 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_1970: u64 = 719_468;
