//! What the console shows of the series, of refusals and of limits.

use super::harness::TestConsole;
use crate::clock::now;
use crate::db::Counters;
use crate::series::testing::{MemoryStore, State};
use crate::series::{READINGS, Readings, policy_hash};
use crate::testing::{TestService, on_each_database};
use axum::body::Body;
use axum::http::{Request, header};
use portcullis_core::UnixSeconds;
use serde_json::{Value, json};
use std::time::Duration;

const CODES: &str = "requests_total{route=\"a\",outcome=\"refused\",code=\"token_expired\"}";
const PASSED: &str = "requests_total{route=\"a\",outcome=\"forwarded\",code=\"none\"}";

/// Adds a minute that began some minutes ago.
async fn add(console: &TestConsole, minutes_ago: u64, counts: &[(&str, u64)]) {
    let minute = now().0 - now().0 % 60 - minutes_ago * 60;
    let mut counters: Counters =
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    counters.insert(READINGS.to_owned(), 1);
    console.db.add_series(None, (minute, &counters), now()).await.unwrap();
}

fn members(points: &Value, member: &str) -> Vec<Value> {
    let points = points.as_array().unwrap().iter();
    points.map(|point| point[member].clone()).filter(|value| !value.is_null()).collect()
}

#[tokio::test]
async fn now_has_the_sums_of_each_range() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let console = TestConsole::open(service);
            let reader = console.browser("reader", "console:read").await;
            add(&console, 2, &[(PASSED, 8), (CODES, 2)]).await;
            add(&console, 300, &[(PASSED, 30)]).await;
            add(&console, 3 * 1440, &[(PASSED, 60)]).await;
            while console.db.roll_up_series(now()).await.unwrap() > 0 {}
            for (range, step, length, sums) in [
                ("live", 10, 60, vec![]),
                ("hour", 60, 60, vec![10]),
                ("day", 600, 144, vec![30, 10]),
                ("week", 3600, 168, vec![60, 30, 10]),
            ] {
                let reply = console.get(&reader, &format!("/console/api/now?range={range}")).await;
                reply.assert(200, "");
                let shown = reply.json();
                assert_eq!(shown["step_seconds"], step, "{range}");
                let points = shown["points"].as_array().unwrap();
                assert_eq!(points.len(), length, "{range}");
                let starts = points.windows(2).map(|pair| {
                    pair[1]["start"].as_u64().unwrap() - pair[0]["start"].as_u64().unwrap()
                });
                assert!(starts.into_iter().all(|between| between == step), "{range}");
                assert_eq!(members(&shown["points"], "requests"), sums, "{range}: gaps are null");
                assert_eq!(shown["totals"]["requests"], sums.iter().sum::<u64>(), "{range}");
            }
            let shown = console.get(&reader, "/console/api/now").await.json();
            assert_eq!(shown["range"], "hour");
            assert_eq!(shown["totals"]["by_code"], json!({"token_expired": 2}));
            assert_eq!(
                (&shown["totals"]["accepted"], &shown["totals"]["refused"]),
                (&json!(8), &json!(2))
            );
            for bad in ["range=year", "range=day&range=day", "other=1"] {
                let path = format!("/console/api/now?{bad}");
                console.get(&reader, &path).await.assert(400, "query_invalid");
            }
        },
    )
    .await;
}

#[tokio::test]
async fn state_has_what_is_open_and_late() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            store.set(|state| *state = State::default());
            let console = TestConsole::open(service);
            let reader = console.browser("reader", "console:read").await;
            let report = |ago: u64, colo: &str, age: u64| {
                json!({"at": (now().0 - ago) * 1000, "policy": "h", "colo": colo,
                       "breakers": {"store": "open"}, "degraded": ["limit=local"],
                       "clearance_age_ms_max": age, "delay_ms_max": 10_000})
            };
            store.report("AMS/a", report(2, "AMS", 700));
            store.report("AMS/b", report(3, "AMS", 900));
            store.report("FRA/c", report(4, "FRA", 100));
            store.report("GRU/old", report(1000, "GRU", 9000));
            let series = &console.state.app.series;
            series.round(&mut Readings::default(), now()).await;
            let shown = console.get(&reader, "/console/api/now?range=live").await.json();
            let state = &shown["state"];
            assert_eq!((&state["store"], &state["database"]), (&json!("up"), &json!("up")));
            assert_eq!(state["edges"].as_array().unwrap().len(), 4);
            let open = json!([{"dependency": "store", "state": "open", "colos": ["AMS", "FRA"]}]);
            assert_eq!(state["open_breakers"], open, "of current reports alone");
            assert_eq!(
                (&state["clearance_age_ms_max"], &state["delay_ms_max"]),
                (&json!(900), &json!(10_000))
            );
            assert_eq!(state["degraded"], json!(["limit=local"]));
            assert!(state["metrics_age_seconds"].as_u64().unwrap() < 10);
            store.set(|state| state.is_down = true);
            series.round(&mut Readings::default(), now()).await;
            let shown = console.get(&reader, "/console/api/now?range=live").await.json();
            assert_eq!(shown["state"]["store"], "down");
            let refusals = console.get(&reader, "/console/api/refusals").await;
            refusals.assert(200, "");
            assert_eq!(refusals.json()["store"], "down");
            console.get(&reader, "/console/api/limits").await.assert(200, "");
        },
    )
    .await;
}

#[tokio::test]
async fn refusals_and_limits_come_from_series_and_ring() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            let at_ms = now().0 * 1000;
            let entry = |id: &str, client: Option<&str>, code: &str, weight: u64| {
                json!({"at": at_ms, "id": id, "route": "a", "code": code, "status": 429,
                       "method": "GET", "path": "/<b>", "address": "203.0.113.7",
                       "client": client, "ms": 3, "weight": weight, "shadow": false,
                       "steps": [["limit", 1, "api: refused, 0 left"], ["decide", 0, code]]})
                .to_string()
            };
            let policy = json!({"limits": [{"name": "api", "quota": 5, "window_seconds": 60,
                                            "by": "client", "overrides": true}],
                                "routes": [{"name": "a", "limits": ["api"]}]});
            let policy = policy.to_string();
            let hash = policy_hash(&policy);
            store.set(|state| {
                *state = State::default();
                state.ring = vec![
                    entry("r1", Some("c1"), "rate_limited", 3),
                    entry("r2", Some("c2"), "token_expired", 1),
                    entry("r3", None, "rate_limited", 1),
                ];
                state.values.insert(format!("pc:policy:{hash}"), policy.clone());
            });
            store.report("AMS/a", json!({"at": at_ms, "policy": hash}));
            let console = TestConsole::open(service);
            let reader = console.browser("reader", "console:read").await;
            console.state.app.series.round(&mut Readings::default(), now()).await;
            let check = "limit_checks_total{limit=\"api\",result=\"passed\"}";
            add(&console, 1, &[(CODES, 4), (check, 9)]).await;
            let shown = console.get(&reader, "/console/api/refusals").await.json();
            assert_eq!(shown["by_code"], json!([{"name": "token_expired", "count": 4}]));
            assert_eq!(shown["by_route"], json!([{"name": "a", "count": 4}]));
            let by_client = [("c1", 3), ("", 1), ("c2", 1)]
                .map(|(name, count)| json!({"name": name, "count": count}));
            assert_eq!(shown["by_client"], json!(by_client));
            assert_eq!(shown["by_address"], json!([{"name": "203.0.113.7", "count": 5}]));
            assert_eq!(members(&shown["points"], "by_code"), [json!({"token_expired": 4})]);
            let recent = async |query: &str| {
                let path = format!("/console/api/refusals/recent{query}");
                let reply = console.get(&reader, &path).await;
                reply.assert(200, "");
                let ids = members(&reply.json()["items"], "id");
                ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            assert_eq!(recent("").await, ["r1", "r2", "r3"]);
            assert_eq!(recent("?code=rate_limited&client=").await, ["r1", "r3"]);
            assert_eq!(recent("?client=c2&route=a").await, ["r2"]);
            assert_eq!(recent("?address=203.0.113.7&id=r3").await, ["r3"]);
            assert!(recent("?id=unknown").await.is_empty());
            let path = "/console/api/refusals/recent?id=r1";
            let one = &console.get(&reader, path).await.json()["items"][0];
            let step = json!({"name": "limit", "ms": 1.0, "note": "api: refused, 0 left"});
            assert_eq!((&one["steps"][0], &one["path"]), (&step, &json!("/<b>")));
            let limits = console.get(&reader, "/console/api/limits").await.json();
            let item = &limits["items"][0];
            assert_eq!(
                (&item["limit"], &item["passed"], &item["quota"]),
                (&json!("api"), &json!(9), &json!(5))
            );
            assert_eq!((&item["route"], &item["overrides"]), (&json!("a"), &json!(true)));
            let over = &limits["over_now"];
            assert_eq!((&over[0]["who"], &over[0]["count"]), (&json!("c1"), &json!(3)));
            assert_eq!((&limits["quotas"], &limits["blocks"]), (&json!([]), &json!([])));
        },
    )
    .await;
}

#[tokio::test]
async fn events_follow_the_rounds_until_the_session_ends() {
    let store = MemoryStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            store.set(|state| *state = State::default());
            let console = TestConsole::open(service);
            let reader = console.browser("reader", "console:read").await;
            let request = Request::get("/console/api/now/events");
            let request = request.header(header::COOKIE, &reader.cookie).body(Body::empty());
            // The whole body: the stream ends with the session.
            let follow = console.send(request.unwrap());
            let rounds = async {
                let (series, mut readings) = (&console.state.app.series, Readings::default());
                let first = now().0 - 30;
                for round in 0..3 {
                    store.count(PASSED, 7);
                    let at = UnixSeconds(first + round * 10);
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    series.round(&mut readings, at).await;
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
                console.sql("DELETE FROM console_sessions RETURNING 1").await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                series.round(&mut readings, now()).await;
            };
            let (reply, ()) = tokio::join!(follow, rounds);
            reply.assert(200, "");
            assert_eq!(reply.headers[header::CONTENT_TYPE], "text/event-stream");
            let datas = reply.text.lines().filter_map(|line| line.strip_prefix("data: "));
            let datas: Vec<Value> = datas.map(|data| serde_json::from_str(data).unwrap()).collect();
            assert_eq!(datas.len(), 4, "one at once, and one for each round: {}", reply.text);
            assert_eq!(reply.text.matches("event: now").count(), 4);
            assert_eq!(datas[0]["point"], Value::Null);
            assert_eq!(datas[3]["point"]["requests"], 7);
            assert_eq!(datas[3]["state"]["store"], "up");
        },
    )
    .await;
}
