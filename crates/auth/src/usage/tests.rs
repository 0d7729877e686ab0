//! Tests of usage on both databases, with a store in memory.

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

#[tokio::test]
async fn batch_that_is_delivered_twice_counts_once() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, registry) = collector(&service, &url, None);
            assert_eq!(collector.collect(T).await, Ok(Round::Done), "nothing is there");
            let first = batch("a", vec![row("alice", 3), row("bob", 2), row("alice", 1)]);
            for batch in [&first, &first, &batch("b", vec![row("alice", 10)])] {
                store.push_batch(batch);
            }
            assert_eq!(collector.collect(T).await, Ok(Round::Done));
            assert!(store.list("pc:usage").is_empty());
            store.push_batch(&first);
            collector.collect(after(86_400)).await.unwrap();
            let expect = BTreeMap::from([("alice".to_owned(), 14), ("bob".to_owned(), 2)]);
            assert_eq!(by_subject(&service).await, expect);
            assert_eq!(totals(&service).await, (16, 0));
            let batches = "portcullis_auth_usage_batches_total";
            assert!((metric(&registry, batches, "counted") - 2.0).abs() < 0.1);
            assert!((metric(&registry, batches, "repeated") - 2.0).abs() < 0.1);
            assert!(
                (metric(&registry, "portcullis_auth_usage_requests_total", "") - 16.0).abs() < 0.1
            );
            assert!(
                (metric(&registry, "portcullis_auth_usage_lag_seconds", "") - 86_400.0).abs() < 0.1
            );
            store.clear();
        },
    )
    .await;
}

/// The process dies, or the store fails, between two steps.
#[tokio::test]
async fn batch_counts_once_whatever_step_fails() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, _) = collector(&service, &url, None);
            store.push_batch(&batch("a", vec![row("alice", 3)]));
            for step in ["LLEN", "LREM"] {
                store.fail_at(Some(step));
                assert!(collector.collect(T).await.is_err(), "{step}");
                assert_eq!(store.list("pc:usage").len(), 1, "{step}");
            }
            // It was committed, but is still in the list.
            assert_eq!(totals(&service).await, (3, 0));
            store.fail_at(None);
            assert_eq!(collector.collect(T).await, Ok(Round::Done));
            assert_eq!(totals(&service).await, (3, 0));
            assert!(store.list("pc:usage").is_empty());
            store.clear();
        },
    )
    .await;
}

#[tokio::test]
async fn two_collectors_count_each_batch_once() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let ((one, _), (two, _)) =
                (collector(&service, &url, None), collector(&service, &url, None));
            for number in 0..100 {
                let subjects = ["alice", "bob", "carol"];
                let rows = subjects.iter().cycle().skip(number % 3).take(3);
                let rows = rows.map(|subject| row(subject, 1)).collect();
                store.push_batch(&batch(&format!("b{number}"), rows));
            }
            let all = async |collector: &Collector| {
                while collector.collect(T).await.unwrap() == Round::More {}
            };
            tokio::join!(all(&one), all(&two));
            all(&one).await;
            assert!(store.list("pc:usage").is_empty());
            assert!(by_subject(&service).await.values().all(|count| *count == 100));
            store.clear();
        },
    )
    .await;
}

#[tokio::test]
async fn malformed_batches_are_set_aside() {
    let store = ListStore::default();
    let url = store.serve().await;
    let seal = Seal::new(&format!("a:{}", "A".repeat(43)), None).unwrap();
    let other = Seal::new(&format!("b:{}", "A".repeat(43)), None).unwrap();
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, registry) = collector(&service, &url, Some(seal.clone()));
            let good = batch("a", vec![row("alice", 3)]);
            store.push("{".into());
            store.push_batch(&good);
            store.push(good.encode("pc:usage", Some(&other), [1; 12]));
            store.push(good.encode("pc:metrics", Some(&seal), [2; 12]));
            store.push(good.encode("pc:usage", Some(&seal), [3; 12]));
            (0..25).for_each(|number| store.push(format!("bad {number}")));
            while collector.collect(T).await.unwrap() == Round::More {}
            assert_eq!(totals(&service).await, (3, 0));
            assert!(store.list("pc:usage").is_empty());
            assert_eq!(store.list("pc:usage:malformed").len(), 20);
            let malformed = metric(&registry, "portcullis_auth_usage_batches_total", "malformed");
            assert!((malformed - 29.0).abs() < 0.1, "{malformed}");
            store.clear();
        },
    )
    .await;
}

/// A batch that no reply can hold would stop the others for ever. It stays in the list, because
/// only its place could name it.
#[tokio::test]
async fn batch_that_is_too_long_to_be_read_is_skipped() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, registry) = collector(&service, &url, None);
            store.0.lock().unwrap().bytes_max = Some(2000);
            for number in 0..20 {
                store.push_batch(&batch(&format!("a{number}"), vec![row("alice", 1)]));
            }
            let long = "x".repeat(3000);
            store.push(long.clone());
            store.push_batch(&batch("z", vec![row("alice", 1)]));
            let mut failures = 0;
            while store.list("pc:usage").len() > 1 {
                failures += u32::from(collector.collect(T).await.is_err());
                assert!(failures < 20);
            }
            assert_eq!((totals(&service).await, failures), ((21, 0), 9));
            assert_eq!(store.list("pc:usage"), [long]);
            let malformed = metric(&registry, "portcullis_auth_usage_batches_total", "malformed");
            assert!((malformed - 1.0).abs() < 0.1, "{malformed}");
            assert_eq!(collector.collect(T).await, Ok(Round::Done));
            // Another process removed it, so that a good batch has its place.
            store.0.lock().unwrap().lists.clear();
            store.push_batch(&batch("y", vec![row("alice", 1)]));
            collector.collect(after(3600)).await.unwrap();
            assert_eq!(totals(&service).await, (22, 0));
            store.clear();
        },
    )
    .await;
}

/// A full batch of the longest names.
#[tokio::test]
async fn batch_that_is_longer_than_other_replies_counts() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, _) = collector(&service, &url, None);
            let rows = (0..1024).map(|number| {
                let name = |letter: &str| format!("{number:04}{}", letter.repeat(250));
                UsageRow {
                    issuer: name("i"),
                    client: name("c"),
                    key: name("k"),
                    ..row(&name("s"), 1)
                }
            });
            store.push_batch(&batch("long", rows.collect()));
            assert!(store.list("pc:usage")[0].len() > 1024 * 1024);
            while collector.collect(T).await == Ok(Round::More) {}
            assert_eq!(totals(&service).await, (1024, 0));
            // One that is not a batch is removed, and not kept.
            store.push("x".repeat(3 * 1024 * 1024));
            while !store.list("pc:usage").is_empty() {
                collector.collect(T).await.unwrap();
            }
            assert!(store.list("pc:usage:malformed").is_empty());
            store.clear();
        },
    )
    .await;
}

/// These say nothing about the length of the reply.
#[tokio::test]
async fn refused_reads_leave_the_list_as_it_is() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, _) = collector(&service, &url, None);
            (0..3).for_each(|number| {
                store.push_batch(&batch(&format!("{number}"), vec![row("alice", 1)]));
            });
            for status in [400, 401, 403, 404, 413, 429, 500, 503] {
                store.0.lock().unwrap().status = Some(status);
                for _ in 0..30 {
                    assert!(collector.collect(T).await.is_err(), "{status}");
                }
                store.0.lock().unwrap().status = None;
            }
            store.fail_at(Some("LRANGE"));
            for _ in 0..30 {
                assert!(collector.collect(T).await.is_err());
            }
            store.fail_at(None);
            assert_eq!(store.list("pc:usage").len(), 3);
            assert_eq!(collector.collect(T).await, Ok(Round::Done), "in one page");
            assert_eq!(totals(&service).await, (3, 0));
            store.clear();
        },
    )
    .await;
}

#[tokio::test]
async fn periods_keep_the_largest_report_of_each_state() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let period =
                |hash: &str, state: &str, begun: u64, origin: u64, used: u64| PeriodUsage {
                    limit: "api".into(),
                    state: state.into(),
                    hash: hash.repeat(43),
                    begun,
                    origin,
                    used,
                };
            let mut number = 0;
            let mut report = async |periods: Vec<PeriodUsage>, now: UnixSeconds| {
                number += 1;
                let batch = UsageBatch { periods, ..batch(&format!("p{number}"), Vec::new()) };
                let counted =
                    service.db.add_usage(std::slice::from_ref(&batch), now).await.unwrap();
                assert!(counted.contains(&batch.id));
            };
            report(vec![period("A", "month", 1000, 1, 5), period("B", "credits", 0, 1, 7)], T)
                .await;
            report(vec![period("A", "month", 1000, 1, 9), period("A", "month", 1000, 2, 1)], T)
                .await;
            report(vec![period("A", "month", 1000, 1, 6), period("A", "month", 10, 1, 3)], T).await;
            let places = async |begun: [u64; 2]| {
                let (mut found, mut last) = (Vec::new(), None);
                while let Some(row) =
                    service.db.quota_usage(last.as_ref(), begun, 1).await.unwrap().pop()
                {
                    found.push((row.begun, row.origin, row.used));
                    last = Some(row);
                }
                let rows = service.db.quota_usage(None, begun, 10).await.unwrap();
                assert_eq!(rows.len(), found.len());
                found
            };
            assert_eq!(places([1000, 2000]).await, [(0, 1, 7), (1000, 1, 9), (1000, 2, 1)]);
            assert_eq!(places([2000, 10]).await, [(0, 1, 7), (10, 1, 3)]);
            assert_eq!(places([2000, 3000]).await, [(0, 1, 7)]);
            service.db.delete_old_usage(after(63 * 86_400), 1).await.unwrap();
            assert_eq!(places([1000, 10]).await, [(0, 1, 7)]);
            service.db.delete_old_usage(after(401 * 86_400), 1).await.unwrap();
            assert_eq!(places([1000, 10]).await, []);
        },
    )
    .await;
}

/// What was spent is known as long as what was granted.
#[tokio::test]
async fn use_of_credits_is_kept_as_long_as_their_balance() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let caller = |hash: &str| LimitCaller {
                limit: "api".into(),
                issuer: "https://a.example".into(),
                parts: "[]".into(),
                hash: hash.repeat(43),
            };
            let balance = caller("A");
            let grant = CreditGrant { caller: &balance, id: "g", credits: 9, actor: "operator" };
            let change = AuditedChange { now: T, events: &[] };
            service.db.add_credits(&grant, 100, &|_| Vec::new(), &change).await.unwrap();
            let period = |hash: &str, begun: u64| PeriodUsage {
                limit: "api".into(),
                state: "credits".into(),
                hash: hash.repeat(43),
                begun,
                origin: 1,
                used: 7,
            };
            let periods = vec![period("A", 0), period("A", 1000), period("B", 0)];
            let batch = UsageBatch { periods, ..batch("p", Vec::new()) };
            service.db.add_usage(std::slice::from_ref(&batch), T).await.unwrap();
            service.db.delete_old_usage(after(2000 * 86_400), 1).await.unwrap();
            let left = service.db.quota_usage(None, [1000, 1000], 10).await.unwrap();
            let left: Vec<_> = left.iter().map(|row| (row.hash.as_str(), row.begun)).collect();
            assert_eq!(left, [(balance.hash.as_str(), 0)]);
        },
    )
    .await;
}

#[tokio::test]
async fn old_rows_are_deleted() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let old = UsageRow { hour: HOUR - 7200, last: HOUR - 7200, ..row("alice", 5) };
            service.db.add_usage(&[batch("a", vec![old, row("alice", 3)])], T).await.unwrap();
            let day = 86_400;
            assert_eq!(service.db.delete_old_usage(T, 10 * day).await.unwrap(), 0);
            assert_eq!(service.db.delete_old_usage(T, T.0 - HOUR).await.unwrap(), 1);
            assert_eq!(totals(&service).await, (3, 0));
            let count = async || {
                service.db.query_number("SELECT COUNT(*) FROM usage_batches").await.unwrap()
            };
            service.db.delete_old_usage(after(7 * day), 90 * day).await.unwrap();
            assert_eq!(count().await, 1, "the store may still have it");
            service.db.delete_old_usage(after(8 * day + 1), 90 * day).await.unwrap();
            assert_eq!(count().await, 0);
        },
    )
    .await;
}

#[test]
fn last_use_of_each_own_key_is_found() {
    let of = |issuer: &str, key: &str, last: u64| UsageRow {
        issuer: issuer.into(),
        key: key.into(),
        last,
        ..row("alice", 1)
    };
    let rows = [of("own", "k", 5), of("own", "k", 9), of("own", "k", 7), of("own", "", 8)];
    let other = of("other", "x", 9);
    assert_eq!(key_uses(&[&rows[..], &[other]].concat(), "own"), [("k", 9)]);
}

/// Random batches, some of them delivered several times and in another order, by two collectors of
/// which some writes fail: the sum is that of each batch once.
#[tokio::test]
async fn random_deliveries_add_up_to_the_sum() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
            let mut random = move |below: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) % below
            };
            let ((one, _), (two, _)) =
                (collector(&service, &url, None), collector(&service, &url, None));
            let mut expected: BTreeMap<String, u64> = BTreeMap::new();
            let mut batches: Vec<UsageBatch> = Vec::new();
            for number in 0..60 {
                let rows = (0..random(80)).map(|_| {
                    let subject = format!("s{}", random(20));
                    let hour = HOUR + 3600 * random(3);
                    UsageRow { hour, last: hour, ..row(&subject, random(9)) }
                });
                let rows: Vec<UsageRow> = rows.collect();
                for row in &rows {
                    *expected.entry(row.subject.clone()).or_default() += row.passed;
                }
                let at = T.0 + 10_000;
                batches.push(UsageBatch { at, ..batch(&format!("r{number}"), rows) });
                store.push_batch(&batches[number]);
                if random(3) == 0 {
                    let again = usize::try_from(random(number as u64 + 1)).unwrap();
                    store.push_batch(&batches[again]);
                }
                store.fail_at(["LREM", "LRANGE", "LLEN"].get(random(6) as usize).copied());
                let (_, _) = tokio::join!(one.collect(T), two.collect(T));
                store.fail_at(None);
            }
            while !store.list("pc:usage").is_empty() {
                let _ = one.collect(T).await;
            }
            assert_eq!(by_subject(&service).await, expected);
            store.clear();
        },
    )
    .await;
}

fn ask(parameters: &[(&str, &str)]) -> Result<UsageQuestion, &'static str> {
    UsageQuestion::read(parameters.iter().copied(), T)
}

#[tokio::test]
async fn report_is_grouped_filtered_and_paged() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let mut rows = Vec::new();
            for (number, subject) in ["alice", "bob", "=carol,\"c\"", "dave"].iter().enumerate() {
                for hour in [0, 1, 24] {
                    let hour = HOUR - 86_400 + 3600 * hour;
                    let passed = number as u64 + 1;
                    rows.push(UsageRow { hour, last: hour, refused: 1, ..row(subject, passed) });
                }
            }
            service.db.add_usage(&[batch("a", rows)], T).await.unwrap();
            let answer = async |parameters: &[(&str, &str)]| {
                let question = ask(parameters).unwrap();
                let page = service.db.usage(&question.query).await.unwrap();
                (question.json(&page), question.csv(&page, true))
            };
            let (json, csv) = answer(&[]).await;
            let expect = r#"{"usage":[{"passed":30,"refused":12}],"next":null}"#;
            assert_eq!(json, serde_json::from_str::<serde_json::Value>(expect).unwrap());
            assert_eq!(csv, "passed,refused\r\n30,12\r\n");
            let (json, csv) = answer(&[("by", "subject"), ("subject", "bob")]).await;
            assert_eq!(json["usage"][0]["subject"], "bob");
            assert_eq!(json["usage"][0]["issuer"], "https://a.example");
            assert_eq!(csv, "issuer,subject,passed,refused\r\nhttps://a.example,bob,6,3\r\n");
            let (_, csv) = answer(&[("by", "route,subject"), ("subject", "=carol,\"c\"")]).await;
            assert!(csv.ends_with("api,https://a.example,\"'=carol,\"\"c\"\"\",9,3\r\n"), "{csv}");
            let (json, _) = answer(&[("by", "day")]).await;
            let days = json["usage"].as_array().unwrap();
            assert!(days.iter().all(|day| day["day"].as_u64().unwrap() % 86_400 == 0));
            assert_eq!(days.iter().map(|day| day["passed"].as_u64().unwrap()).sum::<u64>(), 30);
            let from = (HOUR - 86_400 + 3600).to_string();
            let to = HOUR.to_string();
            let (json, _) = answer(&[("by", "hour"), ("from", &from), ("to", &to)]).await;
            assert_eq!(json["usage"].as_array().unwrap().len(), 1, "{json}");
            // Page by page.
            let (mut found, mut after) = (Vec::new(), None::<String>);
            loop {
                let mut parameters = vec![("by", "subject,hour"), ("limit", "5")];
                parameters.extend(after.as_deref().map(|after| ("after", after)));
                let (json, _) = answer(&parameters).await;
                found.extend(json["usage"].as_array().unwrap().iter().cloned());
                match json["next"].as_str() {
                    Some(next) => after = Some(next.to_owned()),
                    None => break,
                }
            }
            let (json, _) = answer(&[("by", "subject,hour")]).await;
            assert_eq!(found.len(), 12);
            assert_eq!(json["usage"].as_array(), Some(&found));
        },
    )
    .await;
}

#[test]
fn invalid_questions_are_rejected() {
    for parameters in [
        [("by", "name"), ("limit", "1")],
        [("by", "hour"), ("by", "hour")],
        [("from", "yesterday"), ("limit", "1")],
        [("from", "2026-02-29"), ("to", "2026-03-01")],
        [("from", "2026-13-01"), ("limit", "1")],
        [("from", "0"), ("to", "2026-03-01")],
        [("limit", "0"), ("by", "hour")],
        [("limit", "10001"), ("by", "hour")],
        [("format", "xml"), ("by", "hour")],
        [("after", "e30"), ("by", "hour")],
        [("after", "WzFd"), ("by", "subject")],
        [("after", "WzFd"), ("limit", "1")],
        [("subject", "a\0"), ("by", "hour")],
        [("colour", "red"), ("by", "hour")],
    ] {
        assert!(ask(&parameters).is_err(), "{parameters:?}");
    }
    let long = "x".repeat(257);
    assert!(ask(&[("key", &long)]).is_err());
    assert!(ask(&[("after", "WzFd"), ("by", "hour")]).is_ok());
}

#[test]
fn times_are_seconds_or_dates() {
    let from = |text: &str| ask(&[("from", text), ("to", text)]).map(|ask| ask.query.filter.from);
    for (text, expect) in [
        ("1970-01-01", 0),
        ("2000-02-29", 951_782_400),
        ("2024-02-29", 1_709_164_800),
        ("2026-11-30", 1_796_000_000 - 1_796_000_000 % 86_400),
        ("2100-03-01", 4_107_542_400),
        ("7200", 7200),
        ("7201", 7200),
    ] {
        assert_eq!(from(text), Ok(expect), "{text}");
    }
    for text in ["2026-1-01", "2026-02-30", "2100-02-29", "-1", "1e9", "2026-11-30T00:00:00Z", ""] {
        assert!(from(text).is_err(), "{text}");
    }
}

/// What it prints is the basis of a statement in docs/storage.md. Tests are not optimized.
/// The promise of a database that is rarely queried holds for usage, too.
#[tokio::test]
async fn many_batches_of_the_same_callers_are_a_few_statements() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, _) = collector(&service, &url, None);
            let queries = service.db.queries().with_label_values(&["usage"]);
            // The ids and the rows; for 5,000 rows in two transactions.
            for (name, batches, expect) in [("few", 8, 2), ("more", 10, 4)] {
                for number in 0..batches {
                    let rows = (0..500).map(|at| row(&format!("s{at}"), 1)).collect();
                    store.push_batch(&batch(&format!("{name}{number}"), rows));
                }
                let before = queries.get();
                assert_eq!(collector.collect(T).await, Ok(Round::Done));
                assert_eq!(queries.get() - before, expect, "{name}");
            }
            assert_eq!(totals(&service).await, (9000, 0));
            assert!(by_subject(&service).await.values().all(|count| *count == 18));
            // Of one state, the largest report is enough.
            let period = |used| PeriodUsage {
                limit: "l".into(),
                state: "month".into(),
                hash: "A".into(),
                begun: 1000,
                origin: 1,
                used,
            };
            let reports = [3, 9, 5].map(|used| UsageBatch {
                periods: vec![period(used)],
                ..batch(&format!("report{used}"), Vec::new())
            });
            let before = queries.get();
            assert_eq!(service.db.add_usage(&reports, T).await.unwrap().len(), 3);
            assert_eq!(queries.get() - before, 2);
            let kept = service.db.quota_usage(None, [1000, 1000], 10).await.unwrap();
            assert_eq!(kept.iter().map(|row| row.used).collect::<Vec<_>>(), [9]);
            store.clear();
        },
    )
    .await;
}

#[tokio::test]
async fn full_batch_holds_the_writer_briefly() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            let rows =
                |first: u64| (first..first + 512).map(|at| row(&format!("s{at}"), 1)).collect();
            let mut worst = std::time::Duration::ZERO;
            for number in 0..6 {
                // A quarter of the rows is new each time.
                let batch = batch(&format!("f{number}"), rows(128 * number));
                let begun = std::time::Instant::now();
                service.db.add_usage(std::slice::from_ref(&batch), T).await.unwrap();
                worst = worst.max(begun.elapsed());
            }
            println!("a batch of 512 rows: {worst:?} at most, on {}", &service.url[..8]);
            assert!(worst < std::time::Duration::from_secs(2), "{worst:?}");
        },
    )
    .await;
}
