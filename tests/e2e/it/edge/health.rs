//! The endpoints that the edge serves operators itself: how it is, and the counters of all edges.

use super::limits::scene::{store, token, trips};
use crate::support::edge::start_edge;
use crate::support::environment::on_memcached;
use crate::support::gateway::TOKEN;
use crate::support::http::{assert_refused, client, field, get, get_with};
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, issuer_at, serve};
use crate::support::process::Folder;
use crate::support::provider::{Provider, answer};
use crate::support::proxy::{Fault, Proxy};
use crate::support::stack::{Stack, stop};
use futures_util::future::join_all;
use portcullis_core::StoreKeys;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const METRICS_TOKEN: &str = "metrics-metrics-metrics";

async fn health(stack: &Stack) -> Value {
    let response = get(&stack.edge("/healthz")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(field(&response, "cache-control"), "no-store");
    assert_eq!(field(&response, "content-type"), "application/json");
    assert!(!field(&response, "x-request-id").is_empty());
    response.json().await.unwrap()
}

/// Returns the state once a part of it is as expected.
async fn health_with(stack: &Stack, place: &str, expect: &str) -> Value {
    let begun = Instant::now();
    loop {
        let state = health(stack).await;
        if state.pointer(place).and_then(Value::as_str) == Some(expect) {
            return state;
        }
        let log = || stack.log("edge");
        assert!(begun.elapsed() < Duration::from_secs(20), "{place}: {state}\n{}", log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn outage_is_told_without_feeding_a_breaker() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let (near, auth) = (Proxy::start(&gateway.url), Provider::start(answer(200, "ok")));
    let stack = start_edge(json!({
        "issuers": [issuer_at(&serve(TRUSTED.jwks()))],
        "store.url": near.url(), "STORE_TOKEN": TOKEN, "store.timeout_ms": 300,
        "auth.url": auth.url(""), "auth.timeout_ms": 300,
        "breaker.failures": 1, "breaker.open_ms_max": 60_000, "health.path": "/healthz",
    }))
    .await;
    let first = health(&stack).await;
    assert_eq!(first["status"], "ok", "what is not known is no fault: {first}");
    assert_eq!(first["policy"].as_str().map(str::len), Some(16), "{first}");
    assert_eq!(first["key_sets"][0]["state"], "unknown", "{first}");
    assert_eq!(first["key_sets"][0]["issuer"], ISSUER, "{first}");
    let up = health_with(&stack, "/store/state", "up").await;
    assert!(up["store"]["age_seconds"].as_u64().unwrap() < 5, "{up}");
    health_with(&stack, "/auth/state", "up").await;
    assert_eq!(get_with(&stack.edge("/api/x"), &token(json!({}))).await.status(), 200);
    let used = health(&stack).await;
    assert_eq!(used["key_sets"][0]["state"], "up", "{used}");
    assert_eq!(used["key_sets"][0]["keys"], 1, "{used}");
    assert_eq!(used["status"], "ok", "{used}");

    auth.behave(answer(500, ""));
    for fault in [Fault::Hangs, Fault::Refuses] {
        near.set(fault.clone());
        let down = health_with(&stack, "/store/state", "down").await;
        assert_eq!(down["status"], "degraded", "{down}");
        assert_eq!(down["store"]["breaker"], "closed", "{fault:?}: {down}");
        let begun = Instant::now();
        for _ in 0..20 {
            health(&stack).await;
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "no response waits for a dependency");
        let down = health_with(&stack, "/auth/state", "down").await;
        assert_eq!(down["auth"]["breaker"], "closed", "{down}");
        near.set(Fault::None);
        // The breaker opens at the first failure, and would stay open.
        assert_eq!(get_with(&stack.edge("/api/x"), &token(json!({}))).await.status(), 200);
        health_with(&stack, "/store/state", "up").await;
    }
    auth.behave(answer(200, "ok"));
    let log = stack.log("edge");
    assert!(!log.contains("\"event\":\"breaker\""), "{log}");
    assert!(!log.contains("healthz"), "requests for health are not logged: {log}");
    // A request that feeds the breaker shows in the state.
    near.set(Fault::Hangs);
    assert_eq!(get_with(&stack.edge("/api/x"), &token(json!({}))).await.status(), 503);
    let open = health(&stack).await;
    assert_eq!((&open["store"]["breaker"], &open["status"]), (&json!("open"), &json!("degraded")));
    // The probe finds that the store works, although no request does.
    near.set(Fault::None);
    health_with(&stack, "/store/state", "up").await;
    stop((stack, gateway, redis)).await;
}

#[tokio::test]
async fn five_hundred_requests_cost_one_probe_for_each_dependency() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let auth = Provider::start(answer(200, "ok"));
    let stack = start_edge(json!({
        "issuers": [issuer_at(&serve(TRUSTED.jwks()))],
        "store.url": gateway.url, "STORE_TOKEN": TOKEN, "auth.url": auth.url(""),
        "health.path": "/healthz",
    }))
    .await;
    // The policy of the tests fetches no block list, so that each trip is a probe.
    let (before, begun) = (trips(&gateway).await, Instant::now());
    let client = client();
    for _ in 0..10 {
        let request = async || client.get(stack.edge("/healthz")).send().await.unwrap().status();
        let statuses = join_all((0..50).map(|_| request())).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
    health_with(&stack, "/store/state", "up").await;
    health_with(&stack, "/auth/state", "up").await;
    let probes = 1 + begun.elapsed().as_secs() / 5;
    let of_store = trips(&gateway).await - before;
    assert!((1..=probes).contains(&of_store), "{of_store} in {:?}", begun.elapsed());
    let of_auth = auth.take();
    assert!((1..=probes).contains(&(of_auth.len() as u64)), "{of_auth:?}");
    assert!(of_auth.iter().all(|request| request.starts_with("GET /healthz ")), "{of_auth:?}");
    let secret = |request: &String| request.to_lowercase().contains("authorization");
    assert!(!of_auth.iter().any(secret), "{of_auth:?}");
    stop((stack, gateway, redis)).await;
}

#[tokio::test]
async fn metrics_need_their_token_and_are_read_once_a_second() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let near = Proxy::start(&gateway.url);
    let stack = start_edge(json!({
        "issuers": [issuer_at(&serve(TRUSTED.jwks()))],
        "store.url": near.url(), "STORE_TOKEN": TOKEN, "store.timeout_ms": 500,
        "metrics.interval_seconds": 3600, "metrics.path": "/edge-metrics",
        "METRICS_TOKEN": METRICS_TOKEN,
    }))
    .await;
    let path = stack.edge("/edge-metrics");
    for wrong in ["", "Bearer", "Bearer metrics-metrics-metricz", "Basic metrics-metrics-metrics"] {
        let response = client().get(&path).header("authorization", wrong).send().await.unwrap();
        assert_eq!(field(&response, "www-authenticate"), "Bearer", "{wrong}");
        assert_refused(response, 401, "metrics_token_invalid").await;
    }
    assert_refused(get(&path).send().await.unwrap(), 401, "metrics_token_invalid").await;
    assert_eq!(trips(&gateway).await, 0, "a wrong token costs the store nothing");

    // More than what the store replies to a question about a token.
    let line = |number: u32| {
        format!(
            "requests_total{{route=\"route-{number}\",outcome=\"forwarded\",code=\"none\"}} {number}\n"
        )
    };
    redis::cmd("SET")
        .arg(StoreKeys::new("pc").metrics_totals())
        .arg((0..2500).map(line).collect::<String>())
        .exec(&mut redis.connection())
        .unwrap();
    let (before, begun) = (trips(&gateway).await, Instant::now());
    let read = async || get_with(&path, METRICS_TOKEN).await;
    let all = join_all((0..50).map(|_| read())).await;
    for response in all {
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "content-type"), "text/plain; version=0.0.4");
        assert_eq!(field(&response, "cache-control"), "no-store");
        let text = response.text().await.unwrap();
        let line = "portcullis_edge_requests_total{route=\"route-2499\",outcome=\"forwarded\",code=\"none\"} 2499\n";
        assert!(text.starts_with("# TYPE portcullis_edge_requests_total counter\n"), "{text}");
        assert!(text.contains(line), "{text}");
    }
    let trips = trips(&gateway).await - before;
    assert!((1..=1 + begun.elapsed().as_secs()).contains(&trips), "{trips}");
    let head = client().head(&path).bearer_auth(METRICS_TOKEN).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.bytes().await.unwrap().len()), (200, 0));
    let post = client().post(&path).bearer_auth(METRICS_TOKEN).send().await.unwrap();
    assert_refused(post, 404, "route_not_found").await;

    near.set(Fault::Hangs);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let text = read().await.text().await.unwrap();
    assert!(text.ends_with("portcullis_edge_metrics_readable 0\n"), "{text}");
    let log = stack.log("edge");
    assert!(!log.contains("\"event\":\"breaker\"") && !log.contains(METRICS_TOKEN), "{log}");
    stop((stack, gateway, redis)).await;
}

#[tokio::test]
async fn endpoints_are_off_by_default() {
    let policy = format!(
        r#"
[store]
url = "http://127.0.0.1:1"

[upstream]
url = "http://127.0.0.1:1"

[[issuers]]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
algorithms = ["EdDSA"]
jwks_url = "http://127.0.0.1:1/jwks"

[[routes]]
name = "api"
path = "/api/*"
access = "protected"
require = "not_revoked"
"#
    );
    let folder = Folder::new();
    let file = folder.write("portcullis.toml", &policy);
    let file = file.to_str().unwrap().to_owned();
    let start = move || {
        let options = ["--only", "edge", "--policy", &file];
        Stack::start(&options, Some(json!({ "STORE_TOKEN": TOKEN })))
    };
    let stack = tokio::task::spawn_blocking(start).await.unwrap();
    for path in ["/healthz", "/metrics"] {
        let response = get(&stack.edge(path)).send().await.unwrap();
        assert_refused(response, 404, "route_not_found").await;
    }
    stop(stack).await;
}
