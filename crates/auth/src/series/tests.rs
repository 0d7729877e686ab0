//! Tests of the collector on both databases, with a store in memory.

use super::collector::Readings;
use super::testing::{MemoryStore, State};
use super::{OwnCounts, Point, READINGS, Series, policy_hash};
use crate::db::{AuditedChange, RevokedToken};
use crate::outbox::DeliveryTimes;
use crate::testing::{T, TestService, on_each_database};
use portcullis_core::{StoreKeys, UnixSeconds};
use prometheus::{IntCounterVec, Opts, Registry};
use serde_json::json;
use std::sync::Arc;

/// The start of a minute.
const START: u64 = T.0 - T.0 % 60;

/// A process of the auth service.
struct Process {
    series: Series,
    readings: Readings,
}

impl Process {
    fn new(service: &TestService, url: &str) -> Self {
        let store = Arc::new(crate::store::Store::new(url, "x").unwrap());
        let events = IntCounterVec::new(Opts::new("events", "events"), &["event"]).unwrap();
        let delivery_times = DeliveryTimes::new(&Registry::new()).unwrap();
        let own = OwnCounts { delivery_times, events };
        let series = Series::new(Arc::clone(&service.db), store, StoreKeys::new("pc"), own);
        Self { series, readings: Readings::default() }
    }

    async fn round(&mut self, at: u64) {
        self.series.round(&mut self.readings, UnixSeconds(at)).await;
    }

    fn logs_in(&self, times: u64) {
        self.series.own.events.with_label_values(&["login"]).inc_by(times);
    }

    /// Returns the counts of a name in the database, by minutes from [`START`] on.
    async fn minutes(&self, name: &str) -> Vec<(u64, u64)> {
        counts(&self.series.range(START, START + 864_000, 60).await.unwrap(), name)
    }
}

fn counts(points: &[Point], name: &str) -> Vec<(u64, u64)> {
    let counts = points
        .iter()
        .filter_map(|point| Some(((point.start - START) / 60, *point.counters.get(name)?)));
    counts.collect()
}

const LOGINS: &str = "auth_events_total{event=\"login\"}";

#[tokio::test]
async fn each_minute_has_what_was_counted_in_it() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            store.set(|state| *state = State::default());
            let mut process = Process::new(&service, &url);
            store.count("a{}", 1000);
            store.count("not a counter", 1);
            store.count("auth_x{}", 1);
            process.round(START).await;
            for second in (10..=180).step_by(10) {
                store.count("a{}", second);
                process.logs_in(1);
                process.round(START + second).await;
            }
            // The readings at the ends of minutes: 60, 120 and 180.
            assert_eq!(process.minutes("a{}").await, [(0, 210), (1, 570), (2, 930)]);
            assert_eq!(process.minutes(LOGINS).await, [(0, 6), (1, 6), (2, 6)]);
            assert_eq!(process.minutes(READINGS).await, [(0, 1), (1, 1), (2, 1)]);
            assert_eq!(process.minutes("auth_outbox_rows_max").await.last(), Some(&(2, 0)));
            assert_eq!(process.minutes("not a counter").await, []);
            assert_eq!(process.minutes("auth_x{}").await, []);
            let live = process.series.live();
            assert_eq!((live.len(), live[17].start), (18, START + 170));
            assert_eq!(live[17].counters.get("a{}"), Some(&180));
            assert_eq!(live[17].counters.get(LOGINS), Some(&1));
            // What did not change is missing, and an idle minute has a reading.
            process.round(START + 240).await;
            assert_eq!(process.minutes("a{}").await.len(), 3);
            assert_eq!(process.minutes(READINGS).await.len(), 4);
        },
    )
    .await;
}

#[tokio::test]
async fn processes_share_the_counts_of_the_edges() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            store.set(|state| *state = State::default());
            let mut all = [0, 1, 2].map(|_| Process::new(&service, &url));
            for round in 0..=18 {
                store.count("a{}", 1);
                for process in &all {
                    process.logs_in(2);
                }
                let (at, [one, two, three]) = (START + 10 * round, &mut all);
                tokio::join!(one.round(at), two.round(at), three.round(at));
            }
            let a = all[0].minutes("a{}").await;
            assert_eq!(a, [(0, 6), (1, 6), (2, 6)]);
            assert_eq!(all[0].minutes(READINGS).await, [(0, 1), (1, 1), (2, 1)]);
            // Each process adds its own. Those of the first round are of the minute before.
            assert_eq!(all[0].minutes(LOGINS).await, [(0, 36), (1, 36), (2, 36)]);
        },
    )
    .await;
}

#[tokio::test]
async fn counters_that_the_store_lost_count_from_zero() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            store.set(|state| *state = State::default());
            let mut process = Process::new(&service, &url);
            store.count("a{}", 500);
            process.round(START).await;
            store.count("a{}", 5);
            process.round(START + 60).await;
            store.set(|state| state.hashes.clear());
            store.count("a{}", 3);
            process.round(START + 120).await;
            store.count("a{}", 4);
            process.round(START + 180).await;
            assert_eq!(process.minutes("a{}").await, [(0, 5), (1, 3), (2, 4)]);
        },
    )
    .await;
}

#[tokio::test]
async fn counts_after_an_outage_are_spread() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            store.set(|state| *state = State::default());
            let mut process = Process::new(&service, &url);
            let rounds = process.series.rounds();
            process.round(START).await;
            assert!(rounds.has_changed().unwrap());
            store.count("a{}", 1);
            process.round(START + 60).await;
            store.set(|state| state.is_down = true);
            process.logs_in(1);
            process.round(START + 120).await;
            assert!(!process.series.observed().store_up);
            assert!(process.series.observed().database_up);
            assert_eq!(process.minutes(READINGS).await, [(0, 1)], "a gap");
            assert_eq!(process.minutes(LOGINS).await, [(1, 1)]);
            store.set(|state| state.is_down = false);
            store.count("a{}", 9);
            process.round(START + 240).await;
            assert!(process.series.observed().store_up);
            assert_eq!(process.minutes("a{}").await, [(0, 1), (1, 3), (2, 3), (3, 3)]);
            // Another process goes on where this one ended, after two days.
            let mut next = Process::new(&service, &url);
            store.count("a{}", 2 * 138);
            next.round(START + 240 + 2 * 86_400).await;
            let after = next.minutes("a{}").await;
            assert_eq!(after.len(), 4 + 138, "each tenth minute of a long outage");
            let end = 4 + 2 * 1440;
            assert_eq!((after[4], after[5]), ((end - 1380, 2), (end - 1370, 2)));
            assert_eq!(after.last(), Some(&(end - 10, 2)));
            assert_eq!(after.iter().map(|(_, count)| count).sum::<u64>(), 10 + 2 * 138);
        },
    )
    .await;
}

/// A process whose clock is ahead must not keep the others from writing for longer than that.
#[tokio::test]
async fn reading_from_the_future_is_replaced() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            store.set(|state| *state = State::default());
            let mut ahead = Process::new(&service, &url);
            ahead.round(START + 86_400).await;
            store.count("a{}", 5);
            let mut process = Process::new(&service, &url);
            process.round(START + 60).await;
            assert_eq!(process.minutes("a{}").await, [(0, 5)]);
            assert_eq!(service.db.series_state().await.unwrap().at, START + 60);
        },
    )
    .await;
}

#[tokio::test]
async fn outbox_and_edges_are_observed() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            store.set(|state| *state = State::default());
            let command = vec![redis_rest::Command::new("SET").arg("k").arg(1)];
            let token = RevokedToken { jti: "j", session_id: "none", expires_at: START };
            let change = AuditedChange { now: UnixSeconds(START), events: &[] };
            service.db.revoke_access_token(&token, command, &change).await.unwrap();
            let at = |ago: u64| json!({"at": (START + 60 - ago) * 1000, "policy": "h"});
            store.report("AMS/new", at(5));
            store.report("AMS/old", at(3600));
            let mut process = Process::new(&service, &url);
            process.round(START + 60).await;
            let observed = process.series.observed();
            assert_eq!((observed.outbox_rows, observed.outbox_age_seconds), (1, 60));
            let names: Vec<&str> = observed.edges.iter().map(|edge| edge.name.as_str()).collect();
            assert_eq!(names, ["AMS/new"]);
            let left = store.0.lock().unwrap().hashes["pc:edges"].len();
            assert_eq!(left, 1, "the old report is deleted");
            assert_eq!(process.minutes("auth_outbox_age_seconds_max").await, [(0, 60)]);
        },
    )
    .await;
}

#[tokio::test]
async fn ring_and_policies_are_read_once() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            store.set(|state| *state = State::default());
            let policy = json!({"limits": [{"name": "api", "quota": 5, "by": "subject"}]});
            let policy = policy.to_string();
            let own_hash = policy_hash(&policy);
            store.set(|state| {
                state.ring = vec![r#"{"at":5,"id":"r1","code":"x"}"#.to_owned()];
                state.values.insert(format!("pc:policy:{own_hash}"), policy.clone());
                state.values.insert("pc:policy:forged".to_owned(), policy.clone());
            });
            let mut process = Process::new(&service, &url);
            assert_eq!(process.series.limits().await.unwrap(), None);
            store.report("AMS/a", json!({"at": START * 1000, "policy": own_hash}));
            process.round(START).await;
            let queries = || store.0.lock().unwrap().queries;
            let before = queries();
            let own = &process.series;
            let asked = tokio::join!(own.recent_refusals(), own.recent_refusals(), own.limits());
            assert_eq!(asked.0.unwrap()[0].id, "r1");
            assert_eq!(asked.1.unwrap().len(), 1);
            let (hash, limits) = asked.2.unwrap().unwrap();
            assert_eq!((&hash, limits[0].name.as_str()), (&own_hash, "api"));
            assert!(own.limits().await.unwrap().is_some());
            assert_eq!(queries() - before, 2);
            assert_eq!(own.policy("other").await.unwrap(), None);
            assert_eq!(own.policy("forged").await.unwrap(), None, "its text has another hash");
            store.set(|state| state.is_down = true);
            assert!(own.policy("other").await.is_err());
        },
    )
    .await;
}

/// A database that fails delays the write. Nothing is lost.
#[tokio::test]
async fn failed_write_is_repeated() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            store.set(|state| *state = State::default());
            let mut process = Process::new(&service, &url);
            process.round(START).await;
            let rename = "ALTER TABLE series RENAME TO series_gone";
            service.db.execute(rename).await.unwrap();
            store.count("a{}", 6);
            process.logs_in(2);
            process.round(START + 60).await;
            service.db.execute("ALTER TABLE series_gone RENAME TO series").await.unwrap();
            process.round(START + 70).await;
            assert_eq!(process.minutes("a{}").await, [(0, 6)]);
            assert_eq!(process.minutes(LOGINS).await, [(0, 2)]);
            process.round(START + 80).await;
            assert_eq!(process.minutes(LOGINS).await, [(0, 2)]);
        },
    )
    .await;
}
