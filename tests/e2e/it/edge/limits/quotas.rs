//! Quotas of single callers, limits by the calendar, and credits, as clients and operators
//! experience them.

use super::race::race;
use super::scene::{call, passed, protected, start, store, token, trips, unique};
use crate::support::environment::on_memcached;
use crate::support::gateway::TOKEN;
use crate::support::http::{assert_refused, field};
use crate::support::issuer::ISSUER;
use crate::support::redis_server::Redis;
use crate::support::stack::{Stack, stop};
use portcullis_core::{LimitBy, StoreKeys, limit_key_text};
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HERE: &str = "192.0.2.1";

/// The keys of a limit's state, and of what a caller has besides the policy.
fn keys(limit: &str, state: &str, subject: &str) -> (String, String) {
    let keys = StoreKeys::new("pc");
    let text = limit_key_text(ISSUER, &[(LimitBy::Subject, subject)]);
    let state = keys.limit(limit, state, &StoreKeys::limit_hash(limit, &text));
    let own = keys.quota(&state);
    (state, own)
}

fn set(redis: &Redis, key: &str, value: &str) {
    let mut command = redis::cmd("SET");
    let () = command.arg(key).arg(value).arg("EX").arg(600).query(&mut redis.connection()).unwrap();
}

async fn edges(vars: &Value) -> Vec<Stack> {
    let (a, b, c, d) = tokio::join!(
        start(vars.clone()),
        start(vars.clone()),
        start(vars.clone()),
        start(vars.clone())
    );
    vec![a, b, c, d]
}

/// Waits if the day ends soon, so that a test runs within one.
async fn within_a_day() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let left = 86_400 - now % 86_400;
    if left < 90 {
        tokio::time::sleep(Duration::from_secs(left + 1)).await;
    }
}

#[tokio::test]
async fn override_applies_with_the_next_request() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let algorithms = ["gcra", "sliding_window", "fixed_window", "period"];
    let names = algorithms.map(unique);
    let route = |(algorithm, name): (&&str, &String)| {
        let mut limit = json!({ "quota": 3, "by": "subject", "overrides": true, "headers": true });
        match *algorithm {
            "period" => limit["period"] = "day".into(),
            algorithm => {
                limit["algorithm"] = algorithm.into();
                limit["window_seconds"] = 600.into();
            }
        }
        protected(name, json!({ "limit": limit }))
    };
    let routes: Vec<Value> = algorithms.iter().zip(&names).map(route).collect();
    within_a_day().await;
    let stack = start(json!({
        "store.url": gateway.url, "STORE_TOKEN": TOKEN, "routes": routes,
    }))
    .await;
    for (algorithm, name) in algorithms.iter().zip(&names) {
        let (path, kind) = (
            format!("/api/{name}"),
            match *algorithm {
                "gcra" => "bucket",
                "sliding_window" => "sliding",
                "fixed_window" => "fixed",
                "period" => "day",
                other => other,
            },
        );
        let of = |subject: &str| (token(json!({ "sub": subject })), keys(name, kind, subject).1);
        let ((alice, more), (bob, less)) = (of("alice"), of("bob"));
        let spent = passed(&stack, &path, HERE, Some(&alice), 2).await;
        assert_eq!(spent, 2, "{algorithm}");
        set(&redis, &more, "7");
        let response = call(&stack, &path, HERE, Some(&alice)).await;
        let policy = field(&response, "ratelimit-policy");
        assert!(policy.starts_with(&format!("\"{name}\";q=7")), "{algorithm}: {policy}");
        let rate = field(&response, "ratelimit");
        assert!(rate.contains("r=4;"), "{algorithm}: {rate}");
        assert_eq!(passed(&stack, &path, HERE, Some(&alice), 9).await, 4, "{algorithm}");
        // Another caller has the limit's own, until its quota is lowered.
        assert_eq!(passed(&stack, &path, HERE, Some(&bob), 1).await, 1, "{algorithm}");
        set(&redis, &less, "1");
        let refused = call(&stack, &path, HERE, Some(&bob)).await;
        let policy = field(&refused, "ratelimit-policy");
        assert!(policy.starts_with(&format!("\"{name}\";q=1")), "{algorithm}: {policy}");
        assert_refused(refused, 429, "rate_limited").await;
        // The isolate remembers the refusal, and says the same, for 5 s at most.
        let before = trips(&gateway).await;
        let again = call(&stack, &path, HERE, Some(&bob)).await;
        assert_eq!(field(&again, "ratelimit-policy"), policy, "{algorithm}");
        assert!(field(&again, "retry-after").parse::<u64>().unwrap() > 5, "{algorithm}");
        assert_eq!(trips(&gateway).await, before, "{algorithm}");
        set(&redis, &less, "100");
    }
    tokio::time::sleep(Duration::from_millis(5100)).await;
    for (algorithm, name) in algorithms.iter().zip(&names) {
        let bob = token(json!({ "sub": "bob" }));
        let path = format!("/api/{name}");
        assert_eq!(passed(&stack, &path, HERE, Some(&bob), 3).await, 3, "{algorithm}");
    }
    stop((stack, redis, gateway)).await;
}

/// Over four isolates, a day's quota is admitted to the request, exact and leased.
#[tokio::test]
async fn quota_of_a_day_is_admitted_once_over_four_isolates() {
    if on_memcached() {
        return;
    }
    const QUOTA: u64 = 200;
    let (redis, gateway) = store().await;
    let timings = ["exact", "leased"];
    let names = timings.map(unique);
    let routes: Vec<Value> = timings
        .iter()
        .zip(&names)
        .map(|(timing, name)| {
            let limit = json!({ "quota": QUOTA, "period": "day", "by": "subject",
                "timing": timing, "on_store_outage": "deny" });
            protected(name, json!({ "limit": limit }))
        })
        .collect();
    let vars = json!({
        "store.url": gateway.url, "STORE_TOKEN": TOKEN, "revocation.delay_seconds_max": 60,
        "store.timeout_ms": 2000, "routes": routes,
    });
    within_a_day().await;
    let edges = edges(&vars).await;
    let caller = token(json!({ "sub": "alice" }));
    for (timing, name) in timings.iter().zip(&names) {
        let urls: Vec<String> =
            edges.iter().map(|edge| edge.edge(&format!("/api/{name}"))).collect();
        let before = trips(&gateway).await;
        let (sent, admitted) =
            race(urls.clone(), 32, &caller, Instant::now(), Duration::from_secs(5)).await;
        let asked = trips(&gateway).await - before;
        let (state, _) = keys(name, "day", "alice");
        let value: String = redis::cmd("GET").arg(&state).query(&mut redis.connection()).unwrap();
        println!("{timing}: {} of {sent} admitted, {asked} questions, {value}", admitted.len());
        assert!(admitted.len() as u64 <= QUOTA, "{timing}: {}", admitted.len());
        assert!(sent > 2 * QUOTA, "{timing}: {sent} sent");
        if *timing == "exact" {
            assert_eq!(admitted.len() as u64, QUOTA);
        } else {
            // What isolates took and did not spend is lost: at most a hundredth each.
            assert!(admitted.len() as u64 >= QUOTA * 9 / 10, "{}", admitted.len());
        }
    }
    let refused = call(&edges[0], &format!("/api/{}", names[0]), HERE, Some(&caller)).await;
    let wait: u64 = field(&refused, "retry-after").parse().unwrap();
    assert!(wait <= 86_400 + 600, "{wait}");
    let policy = field(&refused, "ratelimit-policy");
    assert_eq!(policy, format!("\"{}\";q={QUOTA};w=86400", names[0]));
    assert_refused(refused, 429, "rate_limited").await;
    // A store that loses the count admits the quota again. This is the bound until it is restored.
    let () = redis::cmd("FLUSHALL").query(&mut redis.connection()).unwrap();
    tokio::time::sleep(Duration::from_millis(5100)).await;
    let urls = edges.iter().map(|edge| edge.edge(&format!("/api/{}", names[0]))).collect();
    let (_, again) = race(urls, 32, &caller, Instant::now(), Duration::from_secs(4)).await;
    assert!(again.len() as u64 <= QUOTA, "{}", again.len());
    stop((edges, redis, gateway)).await;
}

/// Credits are spent to the last one and no further, after the quota of the month. More credits
/// count within 5 s.
#[tokio::test]
async fn credits_are_spent_once_over_four_isolates() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let [calls, refilled] = ["calls", "refilled"].map(unique);
    let vars = json!({
        "store.url": gateway.url, "STORE_TOKEN": TOKEN, "store.timeout_ms": 2000,
        "routes": [
            protected(&calls, json!({ "limit": { "algorithm": "credits", "by": "subject",
                "headers": true } })),
            protected(&refilled, json!({ "cost": 5, "limit": { "algorithm": "credits",
                "quota": 10, "period": "month", "by": "subject", "headers": true } })),
        ],
    });
    let edges = edges(&vars).await;
    let caller = token(json!({ "sub": "alice" }));
    let path = format!("/api/{calls}");
    let refused = call(&edges[0], &path, HERE, Some(&caller)).await;
    assert_eq!(field(&refused, "retry-after"), "", "no time brings more");
    assert_eq!(field(&refused, "ratelimit"), format!("\"{calls}\";r=0"));
    assert_refused(refused, 429, "credits_exhausted").await;
    set(&redis, &keys(&calls, "credits", "alice").1, "150");
    tokio::time::sleep(Duration::from_millis(5100)).await;
    let first = call(&edges[0], &path, HERE, Some(&caller)).await;
    assert_eq!(field(&first, "ratelimit-policy"), format!("\"{calls}\";q=150"));
    assert_eq!(field(&first, "ratelimit"), format!("\"{calls}\";r=149"));
    let urls: Vec<String> = edges.iter().map(|edge| edge.edge(&path)).collect();
    let (sent, admitted) =
        race(urls.clone(), 32, &caller, Instant::now(), Duration::from_secs(4)).await;
    println!("credits: {} of {sent} admitted", admitted.len());
    assert_eq!(admitted.len(), 149);
    set(&redis, &keys(&calls, "credits", "alice").1, "160");
    tokio::time::sleep(Duration::from_millis(5100)).await;
    let (_, admitted) = race(urls, 8, &caller, Instant::now(), Duration::from_secs(2)).await;
    assert_eq!(admitted.len(), 10);

    // Ten of the month, and then seven credits of which five are enough for one more request.
    set(&redis, &keys(&refilled, "credits", "alice").1, "7");
    let path = format!("/api/{refilled}");
    assert_eq!(passed(&edges[1], &path, HERE, Some(&caller), 5).await, 3);
    let refused = call(&edges[1], &path, HERE, Some(&caller)).await;
    let wait: u64 = field(&refused, "retry-after").parse().unwrap();
    assert!((1..=31 * 86_400 + 600).contains(&wait), "{wait}");
    assert_refused(refused, 429, "credits_exhausted").await;
    stop((edges, redis, gateway)).await;
}

/// The store bills one command more for a limit with overrides, and none more for one by the
/// calendar. What it prints is part of the documentation.
#[tokio::test]
async fn commands_of_each_kind_of_limit_are_as_documented() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let kinds = [
        ("gcra", json!({ "quota": 600, "window_seconds": 600 }), 3),
        ("gcra, nothing owed", json!({ "quota": 1_000_000, "window_seconds": 1000 }), 2),
        ("gcra, overrides", json!({ "quota": 600, "window_seconds": 600, "overrides": true }), 4),
        (
            "gcra, overrides, nothing owed",
            json!({ "quota": 1_000_000, "window_seconds": 1000, "overrides": true }),
            3,
        ),
        ("fixed", json!({ "quota": 600, "window_seconds": 600, "algorithm": "fixed_window" }), 4),
        (
            "fixed, overrides",
            json!({ "quota": 600, "window_seconds": 600, "algorithm": "fixed_window", "overrides": true }),
            4,
        ),
        ("period", json!({ "quota": 600, "period": "month" }), 4),
        ("period, overrides", json!({ "quota": 600, "period": "month", "overrides": true }), 4),
        ("credits", json!({ "quota": 600, "period": "month", "algorithm": "credits" }), 4),
    ];
    let names: Vec<String> = kinds.iter().map(|_| unique("kind")).collect();
    let routes: Vec<Value> = kinds
        .iter()
        .zip(&names)
        .map(|((_, limit, _), name)| {
            let mut limit = limit.clone();
            limit["by"] = "address".into();
            json!({ "name": name, "path": format!("/public/{name}"), "access": "public", "limit": limit })
        })
        .collect();
    let stack = start(json!({
        "store.url": gateway.url, "STORE_TOKEN": TOKEN, "routes": routes,
    }))
    .await;
    for ((kind, _, expect), name) in kinds.iter().zip(&names) {
        let path = format!("/public/{name}");
        assert_eq!(passed(&stack, &path, HERE, None, 1).await, 1);
        let mut connection = redis.connection();
        let () = redis::cmd("CONFIG").arg("RESETSTAT").query(&mut connection).unwrap();
        assert_eq!(passed(&stack, &path, HERE, None, 10).await, 10);
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut connection).unwrap();
        let counted = ["evalsha", "eval", "get", "mget", "set", "time", "pttl"];
        let calls = |name: &&str| {
            let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{name}:")))?;
            line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok()
        };
        let all: u64 = counted.iter().filter_map(calls).sum();
        println!("{kind}: {all} commands for 10 requests");
        // Without a token, the block of the address is one command more.
        assert_eq!(all, (expect + 1) * 10, "{kind}: {stats}");
    }
    stop((stack, redis, gateway)).await;
}
