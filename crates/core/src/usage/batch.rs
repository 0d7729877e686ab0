//! A batch of counts, as the edge pushes it to the store's list, and the auth service reads it.

use super::counts::{HOUR_SECONDS, ROWS_MAX, UsageRow, is_name};
use crate::json;
use crate::json::write::object_text;
use crate::limits::periods::PeriodUse;
use crate::store::seal::Seal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// A batch of an isolate's counts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UsageBatch {
    /// The batch's own id. A batch that is delivered twice counts once.
    pub id: String,
    /// When it was made, in Unix seconds.
    pub at: u64,
    /// The requests.
    pub rows: Vec<UsageRow>,
    /// What limits of calendar periods and credits have used.
    pub periods: Vec<PeriodUsage>,
}

/// What one key of a limit has used, as the store's script last reported it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PeriodUsage {
    /// The name of the limit.
    pub limit: String,
    /// The kind of the state: `day`, `month` or `credits`.
    pub state: String,
    /// The hash of what the limit counts, in base64url.
    pub hash: String,
    /// When the period began, in Unix ms; 0 for the credits.
    pub begun: u64,
    /// When the store created the state, in Unix ms.
    pub origin: u64,
    /// How much was used since the state was created.
    pub used: u64,
}

impl From<PeriodUse> for PeriodUsage {
    fn from(usage: PeriodUse) -> Self {
        Self {
            limit: usage.limit,
            state: usage.state.to_owned(),
            hash: URL_SAFE_NO_PAD.encode(usage.hash),
            begun: usage.begun_ms,
            origin: usage.origin_ms,
            used: usage.used,
        }
    }
}

impl UsageBatch {
    /// Returns how many requests the batch counts.
    pub fn requests(&self) -> u64 {
        self.rows.iter().map(|row| row.passed + row.refused).sum()
    }

    /// Encodes the batch for the store's key `key`, encrypted if there is a seal. `nonce` must
    /// never repeat.
    pub fn encode(&self, key: &str, seal: Option<&Seal>, nonce: [u8; 12]) -> String {
        let text = self.text();
        match seal {
            Some(seal) => seal.seal(&text, key, nonce).unwrap_or_default(),
            None => text,
        }
    }

    fn text(&self) -> String {
        let mut text = format!("{{\"v\":{VERSION},\"id\":\"{}\",\"at\":{}", self.id, self.at);
        write_list("rows", self.rows.iter().map(row_text), &mut text);
        write_list("periods", self.periods.iter().map(period_text), &mut text);
        text.push('}');
        text
    }

    /// Decodes a batch that is stored under `key`. Returns `None` if it is malformed, of another
    /// version, beyond a bound, or not encrypted although there is a seal.
    pub fn decode(text: &str, key: &str, seal: Option<&Seal>) -> Option<Self> {
        let opened = match seal {
            Some(seal) => &seal.open(text, key)?,
            None => text,
        };
        let mut members = json::object(opened.as_bytes())?;
        if number(&members, "v")? != VERSION {
            return None;
        }
        let id = take_text(&mut members, "id")?;
        let is_id = (1..=ID_LENGTH_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let at = number(&members, "at")?;
        let rows = take_list(&mut members, "rows", |row| row_of(row, at))?;
        let periods = take_list(&mut members, "periods", period_of)?;
        is_id.then_some(Self { id, at, rows, periods })
    }
}

/// Writes a list of JSON objects as a further member, unless it is empty.
fn write_list(name: &str, objects: impl Iterator<Item = String>, text: &mut String) {
    let mut begin = format!(",\"{name}\":[");
    let mut end = "";
    for object in objects {
        text.push_str(&begin);
        text.push_str(&object);
        begin.clear();
        begin.push(',');
        end = "]";
    }
    text.push_str(end);
}

fn row_text(row: &UsageRow) -> String {
    let text = |text: &str| (!text.is_empty()).then(|| Value::from(text));
    let count = |count: u64| (count > 0).then(|| Value::from(count));
    object_text(vec![
        ("hour", Some(row.hour.into())),
        ("route", text(&row.route)),
        ("iss", text(&row.issuer)),
        ("sub", text(&row.subject)),
        ("client", text(&row.client)),
        ("key", text(&row.key)),
        ("passed", count(row.passed)),
        ("refused", count(row.refused)),
        ("last", Some(row.last.into())),
    ])
}

fn period_text(period: &PeriodUsage) -> String {
    object_text(vec![
        ("limit", Some(period.limit.as_str().into())),
        ("state", Some(period.state.as_str().into())),
        ("hash", Some(period.hash.as_str().into())),
        ("begun", Some(period.begun.into())),
        ("origin", Some(period.origin.into())),
        ("used", Some(period.used.into())),
    ])
}

fn row_of(mut members: Map<String, Value>, at: u64) -> Option<UsageRow> {
    let mut text = |name: &str| match members.contains_key(name) {
        true => take_text(&mut members, name),
        false => Some(String::new()),
    };
    let row = UsageRow {
        route: text("route")?,
        issuer: text("iss")?,
        subject: text("sub")?,
        client: text("client")?,
        key: text("key")?,
        hour: number(&members, "hour")?,
        passed: count(&members, "passed")?,
        refused: count(&members, "refused")?,
        last: number(&members, "last")?,
    };
    let is_past = row.last <= at.saturating_add(HOUR_SECONDS);
    let is_hour =
        row.hour.is_multiple_of(HOUR_SECONDS) && row.last.checked_sub(row.hour)? < HOUR_SECONDS;
    (is_past && is_hour).then_some(row)
}

fn period_of(mut members: Map<String, Value>) -> Option<PeriodUsage> {
    let period = PeriodUsage {
        limit: take_text(&mut members, "limit")?,
        state: take_text(&mut members, "state")?,
        hash: take_text(&mut members, "hash")?,
        begun: number(&members, "begun")?,
        origin: number(&members, "origin")?,
        used: number(&members, "used")?,
    };
    let is_word = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let is_known = matches!(period.state.as_str(), "day" | "month" | "credits");
    let is_hash = period.hash.len() == HASH_LENGTH && is_word(&period.hash);
    (is_known && is_hash && is_word(&period.limit)).then_some(period)
}

/// Takes a list of at most as many objects as an isolate holds. Returns an empty one if the member
/// is missing.
fn take_list<T>(
    members: &mut Map<String, Value>,
    name: &str,
    read: impl Fn(Map<String, Value>) -> Option<T>,
) -> Option<Vec<T>> {
    let values = match members.remove(name) {
        None => Vec::new(),
        Some(Value::Array(values)) if values.len() <= 2 * ROWS_MAX => values,
        Some(_) => return None,
    };
    let objects = values.into_iter().map(|value| match value {
        Value::Object(members) => read(members),
        _ => None,
    });
    objects.collect()
}

fn take_text(members: &mut Map<String, Value>, name: &str) -> Option<String> {
    match members.remove(name)? {
        Value::String(text) => is_name(&text).then_some(text),
        _ => None,
    }
}

fn number(members: &Map<String, Value>, name: &str) -> Option<u64> {
    members.get(name)?.as_u64().filter(|number| *number <= NUMBER_MAX)
}

/// Returns a number of requests, which is 0 if it is missing.
fn count(members: &Map<String, Value>, name: &str) -> Option<u64> {
    match members.contains_key(name) {
        true => number(members, name).filter(|count| *count <= COUNT_MAX),
        false => Some(0),
    }
}

/// The version of the format.
const VERSION: u64 = 1;
/// The longest id of a batch.
const ID_LENGTH_MAX: usize = 64;
/// The length of a SHA-256 in base64url.
const HASH_LENGTH: usize = 43;
/// 2^53: every language reads a smaller number exactly.
const NUMBER_MAX: u64 = 1 << 53;
/// More requests than an isolate can serve in an hour. The database can add up 2^33 such counts.
const COUNT_MAX: u64 = 1 << 30;

#[cfg(test)]
mod tests;
