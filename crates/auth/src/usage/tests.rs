//! Tests of usage on both databases, with a store in memory.

mod collector;
mod counts;
mod report;

use super::collector::{Collector, Round};
use super::report::UsageQuestion;
use crate::db::{
    AuditedChange, CreditGrant, LimitCaller, UsageColumn, UsageQuery, UsageTotals, UsageValue,
    key_uses,
};
use crate::testing::{T, TestService, after, on_each_database};
use portcullis_core::{PeriodUsage, Seal, StoreKeys, UnixSeconds, UsageBatch, UsageRow};
use prometheus::Registry;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const HOUR: u64 = T.0 - T.0 % 3600;

/// A list in memory, which understands what the collector sends.
#[derive(Clone, Default)]
struct ListStore(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    lists: BTreeMap<String, Vec<String>>,
    /// The first command that fails, if one does.
    fails_at: Option<&'static str>,
    /// How long a reply may be.
    bytes_max: Option<usize>,
    /// The status of each response, unless it is 200.
    status: Option<u16>,
}

impl ListStore {
    async fn serve(&self) -> String {
        let own = self.clone();
        let answer = move |body: String| {
            let own = own.clone();
            async move {
                let status = own.0.lock().unwrap().status.unwrap_or(200);
                (axum::http::StatusCode::from_u16(status).unwrap(), own.answer(&body))
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/pipeline", axum::routing::post(answer));
        let router = router.layer(axum::extract::DefaultBodyLimit::disable());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn answer(&self, body: &str) -> String {
        let commands: Vec<Vec<serde_json::Value>> = serde_json::from_str(body).unwrap();
        let replies = commands.iter().map(|command| {
            let words: Vec<String> = command
                .iter()
                .map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned))
                .collect();
            self.run(&words.iter().map(String::as_str).collect::<Vec<_>>())
        });
        format!("[{}]", replies.collect::<Vec<_>>().join(","))
    }

    fn run(&self, words: &[&str]) -> String {
        let mut state = self.0.lock().unwrap();
        if state.fails_at == Some(words[0]) {
            return r#"{"error":"ERR no"}"#.to_owned();
        }
        let bytes_max = state.bytes_max.unwrap_or(usize::MAX);
        let list = state.lists.entry(words[1].to_owned()).or_default();
        match words {
            ["LLEN", _] => format!(r#"{{"result":{}}}"#, list.len()),
            ["LRANGE", _, start, end] => {
                let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
                let texts: Vec<&String> = list.iter().take(end + 1).skip(start).collect();
                if texts.iter().map(|text| text.len()).sum::<usize>() > bytes_max {
                    return r#"{"error":"ERR the reply is too large"}"#.to_owned();
                }
                format!(r#"{{"result":{}}}"#, serde_json::to_string(&texts).unwrap())
            }
            ["LREM", _, "1", text] => {
                let place = list.iter().position(|own| own == text);
                place.map(|place| list.remove(place));
                r#"{"result":1}"#.to_owned()
            }
            ["LTRIM", "pc:usage:malformed", start, "-1"] => {
                let kept = start.strip_prefix('-').unwrap().parse::<usize>().unwrap();
                let excess = list.len().saturating_sub(kept);
                list.drain(..excess);
                r#"{"result":"OK"}"#.to_owned()
            }
            ["RPUSH", _, text] => {
                list.push((*text).to_owned());
                r#"{"result":1}"#.to_owned()
            }
            ["EXPIRE", ..] => r#"{"result":1}"#.to_owned(),
            _ => panic!("{words:?}"),
        }
    }

    fn push(&self, text: String) {
        self.0.lock().unwrap().lists.entry("pc:usage".into()).or_default().push(text);
    }

    fn push_batch(&self, batch: &UsageBatch) {
        self.push(batch.encode("pc:usage", None, [0; 12]));
    }

    fn list(&self, key: &str) -> Vec<String> {
        self.0.lock().unwrap().lists.get(key).cloned().unwrap_or_default()
    }

    fn fail_at(&self, command: Option<&'static str>) {
        self.0.lock().unwrap().fails_at = command;
    }

    fn clear(&self) {
        *self.0.lock().unwrap() = State::default();
    }
}

fn collector(service: &TestService, url: &str, seal: Option<Seal>) -> (Collector, Registry) {
    let store = Arc::new(crate::store::Store::new(url, "x").unwrap());
    let registry = Registry::new();
    let db = Arc::clone(&service.db);
    let collector =
        Collector::new(db, store, seal, "https://a.example", &StoreKeys::new("pc"), &registry)
            .unwrap();
    (collector, registry)
}

/// Returns the sum of a metric over the series with this label.
fn metric(registry: &Registry, name: &str, label: &str) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name).unwrap();
    let series = family.get_metric().iter().filter(|series| {
        label.is_empty() || series.get_label().iter().any(|own| own.value() == label)
    });
    series.map(|series| series.get_counter().get_value() + series.get_gauge().get_value()).sum()
}

fn row(subject: &str, passed: u64) -> UsageRow {
    UsageRow {
        hour: HOUR,
        route: "api".into(),
        issuer: "https://a.example".into(),
        subject: subject.into(),
        client: "web".into(),
        key: String::new(),
        passed,
        refused: 0,
        last: HOUR + 1,
    }
}

fn batch(id: &str, rows: Vec<UsageRow>) -> UsageBatch {
    UsageBatch { id: id.into(), at: T.0, rows, periods: Vec::new() }
}

/// Asks about everything, grouped by these columns.
fn query(by: &[UsageColumn]) -> UsageQuery {
    let mut query = UsageQuery { by: by.to_vec(), limit: 10_000, ..UsageQuery::default() };
    query.filter.to = u64::from(u32::MAX);
    query
}

async fn totals(service: &TestService) -> (u64, u64) {
    let page = service.db.usage(&query(&[])).await.unwrap();
    (page.rows[0].passed, page.rows[0].refused)
}

async fn by_subject(service: &TestService) -> BTreeMap<String, u64> {
    let page = service.db.usage(&query(&[UsageColumn::Subject])).await.unwrap();
    let pair = |row: UsageTotals| match row.values.into_iter().next() {
        Some(UsageValue::Text(subject)) => (subject, row.passed),
        other => panic!("{other:?}"),
    };
    page.rows.into_iter().map(pair).collect()
}
