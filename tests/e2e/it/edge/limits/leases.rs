//! Leased limits: no request waits for a distant store, and no interval admits more than the
//! algorithm does, over several isolates and whatever happens to their questions.

use super::race::{self, most_over, race};
use super::scene::{passed, protected, start, store, token, trips, unique};
use crate::support::environment::{is_short, on_memcached};
use crate::support::gateway::TOKEN;
use crate::support::http::{client, field};
use crate::support::proxy::{Fault, Proxy};
use crate::support::stack::stop;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn limit(quota: u64, window_seconds: u64, more: Value) -> Value {
    let mut limit = json!({ "quota": quota, "window_seconds": window_seconds, "by": "subject", "timing": "leased" });
    limit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    limit
}

/// A steady caller waits for the store at first alone. What it prints is part of the
/// documentation.
#[tokio::test]
async fn steady_caller_does_not_wait_for_a_distant_store() {
    if on_memcached() {
        return;
    }
    let (away_ms, calls) = if is_short() { (300, 100) } else { (150, 400) };
    let (redis, gateway) = store().await;
    let far = Proxy::start(&gateway.url);
    let name = unique("leased");
    // 100 requests a second are allowed, and 40 are sent.
    let leased = limit(6000, 60, json!({ "lease_seconds": 2, "headers": true }));
    let stack = start(json!({
        "store.url": far.url(), "STORE_TOKEN": TOKEN, "store.timeout_ms": 2000,
        "revocation.delay_seconds_max": 60, "routes": [protected(&name, json!({ "limit": leased }))],
    }))
    .await;
    let (token, path) = (token(json!({})), format!("/api/{name}"));
    assert_eq!(passed(&stack, &path, "192.0.2.1", Some(&token), 2).await, 2);
    far.set(Fault::Late { ms: away_ms });
    let client = client();
    let send = async |count: u32| {
        let (begun, mut sent) = (Instant::now(), Vec::new());
        for number in 0..count {
            tokio::time::sleep_until((begun + Duration::from_millis(25) * number).into()).await;
            let request = client.get(stack.edge(&path)).bearer_auth(&token);
            sent.push(tokio::spawn(async move {
                let begun = Instant::now();
                let response = request.send().await.unwrap();
                assert_eq!(response.status(), 200);
                assert!(field(&response, "ratelimit").contains(";r="));
                begun.elapsed()
            }));
        }
        let mut took = Vec::new();
        for call in sent {
            took.push(call.await.unwrap());
        }
        took.sort_unstable();
        took
    };
    // Until the first leases are as large as the caller needs.
    send(40).await;
    let before = trips(&gateway).await;
    let took = send(calls).await;
    let away = Duration::from_millis(away_ms);
    let waited = took.iter().filter(|took| **took >= away).count();
    let asked = trips(&gateway).await - before;
    println!(
        "leased, the store {away_ms} ms away, {calls} calls, one each 25 ms: {waited} waited for it; median {:?}; {asked} \
         questions in the background",
        took[took.len() / 2]
    );
    assert!(waited <= took.len() / 100, "{waited} of {} waited: {took:?}", took.len());
    assert!(asked <= u64::from(calls) / 10, "{asked} questions");
    stop((stack, redis, gateway)).await;
}

const QUOTA: u64 = 60;
const WINDOW_MS: u64 = 2000;
const CONNECTIONS: usize = 64;

/// What an algorithm admits in an interval of this length.
fn bound(algorithm: &str, length_ms: u64) -> u64 {
    race::bound(algorithm, QUOTA, WINDOW_MS, length_ms)
}

#[tokio::test]
async fn no_interval_exceeds_the_quota_over_four_isolates() {
    if on_memcached() {
        return;
    }
    let seconds = if is_short() { 4 } else { 10 };
    let (redis, gateway) = store().await;
    println!("| algorithm | sent | admitted | supplied | most over its bound in any interval |");
    println!("|---|---|---|---|---|");
    let algorithms = ["gcra", "token_bucket", "sliding_window", "fixed_window"];
    let names = algorithms.map(unique);
    let routes: Vec<Value> = algorithms
        .iter()
        .zip(&names)
        .map(|(algorithm, name)| {
            let limit = limit(
                QUOTA,
                WINDOW_MS / 1000,
                json!({ "algorithm": algorithm, "on_store_outage": "deny" }),
            );
            protected(name, json!({ "limit": limit }))
        })
        .collect();
    let vars = json!({
        "store.url": gateway.url, "STORE_TOKEN": TOKEN, "revocation.delay_seconds_max": 60,
        "store.timeout_ms": 2000, "routes": routes,
    });
    let (a, b, c, d) =
        tokio::join!(start(vars.clone()), start(vars.clone()), start(vars.clone()), start(vars));
    let edges = [a, b, c, d];
    let token = token(json!({}));
    for (place, (algorithm, name)) in algorithms.iter().zip(&names).enumerate() {
        let urls = edges.iter().map(|edge| edge.edge(&format!("/api/{name}"))).collect();
        let begun = Instant::now();
        let until = Duration::from_secs(seconds);
        let killed = edges.last().filter(|_| place == algorithms.len() - 1);
        let kill = async {
            tokio::time::sleep(until / 2).await;
            // The last one dies with the leases that it holds.
            killed.into_iter().for_each(|edge| edge.signal("edge", "-KILL"));
        };
        let ((sent, admitted), ()) =
            tokio::join!(race(urls, CONNECTIONS, &token, begun, until), kill);
        let over = most_over(&admitted, |length_ms| bound(algorithm, length_ms));
        let count = admitted.len() as u64;
        let supplied = QUOTA * (seconds * 1000) / WINDOW_MS;
        println!("| {algorithm} | {sent} | {count} | {supplied} | {over} |");
        assert!(over <= 0, "{algorithm}: {over} over");
        assert!(sent > 2 * count, "{algorithm}: no request was refused");
        assert!(
            count * 10 >= supplied * 7,
            "{algorithm}: only {count} of {supplied} were admitted"
        );
    }
    stop((edges, redis, gateway)).await;
}

/// A store that answers late, never, or twice to one question, because its first answer was lost.
#[tokio::test]
async fn faults_of_the_store_admit_no_more() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let near = Proxy::start(&gateway.url);
    let name = unique("faults");
    let limit = limit(QUOTA, WINDOW_MS / 1000, json!({ "on_store_outage": "deny" }));
    let vars = json!({
        "store.url": near.url(), "STORE_TOKEN": TOKEN, "revocation.delay_seconds_max": 60,
        "store.timeout_ms": 1500, "breaker.failures": 0,
        "routes": [protected(&name, json!({ "limit": limit }))],
    });
    let (one, two) = tokio::join!(start(vars.clone()), start(vars));
    let token = token(json!({}));
    let urls = [&one, &two].map(|edge| edge.edge(&format!("/api/{name}"))).to_vec();
    let faults = async {
        for _ in 0..if is_short() { 1 } else { 3 } {
            for fault in
                [Fault::Late { ms: 300 }, Fault::Half, Fault::Late { ms: 1200 }, Fault::Hangs]
            {
                near.set(Fault::None);
                tokio::time::sleep(Duration::from_millis(600)).await;
                near.set(fault);
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
        }
        near.set(Fault::None);
    };
    let seconds = if is_short() { 6 } else { 17 };
    let begun = Instant::now();
    let ((sent, admitted), ()) =
        tokio::join!(race(urls, CONNECTIONS, &token, begun, Duration::from_secs(seconds)), faults);
    let over = most_over(&admitted, |length_ms| bound("gcra", length_ms));
    println!("{} of {sent} admitted, {over} over in any interval", admitted.len());
    assert!(over <= 0, "{over}");
    assert!(admitted.len() as u64 > QUOTA, "{} of {sent}", admitted.len());
    stop((one, two, redis, gateway)).await;
}
