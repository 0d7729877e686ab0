//! Requests to the store and the database, and what these contain: no secret, and no entry without
//! an expiry. The tests read counters, so they use a separate stack.

use crate::support::http::{client, field, get_with};
use crate::support::stack::{Stack, Tokens, stop};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const QUERIES: &str = "portcullis_auth_database_queries_total";
const TRIPS: &str = "portcullis_redis_gateway_requests_total";

/// Stops the auth service, and waits until what it was asking the store is counted.
async fn stop_auth(stack: &Stack) {
    stack.signal("auth", "-STOP");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
}

#[tokio::test]
async fn validated_request_makes_one_store_request_and_no_database_query() {
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
    let first = stack.login().await;
    let url = stack.edge("/api/hello");
    // The first request fetches the key set and loads the limit's script into the store.
    assert_eq!(get_with(&url, &first.access).await.status(), 200);
    // After the response, and once a minute, the session's last use is written to the store.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;

    let queries = stack.metric("auth_url", QUERIES, "request").await;
    // The auth service checks the store periodically. It is stopped here, so that it does not
    // change the counts.
    stop_auth(&stack).await;
    let trips = stack.metric("store_url", TRIPS, "").await;
    let client = client();
    for _ in 0..1000 {
        let response = client.get(&url).bearer_auth(&first.access).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
    assert_eq!(stack.metric("store_url", TRIPS, "").await - trips, 1000);
    stack.signal("auth", "-CONT");
    assert_eq!(stack.metric("auth_url", QUERIES, "request").await - queries, 0);

    stop_auth(&stack).await;
    let trips = stack.metric("store_url", TRIPS, "").await;
    let (input, _) = first.access.rsplit_once('.').unwrap();
    for forged in 0..200_u8 {
        let token = format!("{input}.{}", URL_SAFE_NO_PAD.encode([forged; 64]));
        assert_eq!(get_with(&url, &token).await.status(), 401);
    }
    assert_eq!(stack.metric("store_url", TRIPS, "").await, trips, "forged tokens reach the store");
    stack.signal("auth", "-CONT");

    let second = Tokens::read(stack.refresh(&first.refresh).await).await;
    no_secret_is_kept(&stack, &[&first.access, &first.refresh, &second.access, &second.refresh]);
    stop(stack).await;
}

/// Checks that every key in Redis expires, and that neither Redis, the database nor a log holds a
/// raw token, a password or the store's credential.
fn no_secret_is_kept(stack: &Stack, secrets: &[&str]) {
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut redis).unwrap();
    assert!(keys.len() >= 4, "{keys:?}");
    let mut held = String::new();
    for key in &keys {
        // A limit's state may have expired meanwhile.
        let left_ms: i64 = redis::cmd("PTTL").arg(key).query(&mut redis).unwrap();
        assert_ne!(left_ms, -1, "{key} never ends");
        let kind: String = redis::cmd("TYPE").arg(key).query(&mut redis).unwrap();
        let mut read = match kind.as_str() {
            "hash" => redis::cmd("HGETALL"),
            "zset" => redis::cmd("ZRANGE"),
            _ => redis::cmd("GET"),
        };
        read.arg(key);
        if kind == "zset" {
            read.arg(0).arg(-1);
        }
        let value: redis::Value = read.query(&mut redis).unwrap();
        held.push_str(&format!("{key} {value:?}\n"));
    }
    assert!(held.contains("pc:token:") && held.contains("v1.test."), "{held}");
    assert!(!held.contains("api:read"), "a record is not sealed: {held}");
    for part in ["redis", "redis-gateway", "auth", "upstream", "edge"] {
        held.push_str(&stack.log(part));
    }
    let folder = std::path::Path::new(stack.fact("logs")).parent().unwrap();
    for name in ["auth.db", "auth.db-wal"] {
        let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
        held.push_str(&String::from_utf8_lossy(&bytes));
    }
    assert!(held.contains("SQLite format 3"), "the database was not read");
    let own = ["store_token", "introspection_secret"].map(|name| stack.fact(name));
    for secret in secrets.iter().copied().chain([stack.password()]).chain(own) {
        // Half of a secret in a log is as bad as all of it. The first half of a JWT is public; its
        // signature is the secret.
        let (_, secret) = secret.rsplit_once('.').unwrap_or(("", secret));
        let half = secret.get(..16).unwrap();
        assert!(!held.contains(half), "a secret is kept");
    }
    assert!(held.contains("request_id"), "the logs were read");
}

/// A limit whose window was longer before, or a clock that went back, leaves state in the future.
/// It must not lock a client out for longer than the window.
#[tokio::test]
async fn limit_state_from_the_future_does_not_lock_clients_out() {
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
    let session = stack.login().await;
    let url = stack.edge("/api/limited");
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("pc:limit:limited:*").query(&mut redis).unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
    // What is owed lasts as long as the key does.
    let () = redis::cmd("EXPIRE").arg(&keys[0]).arg(86_400).query(&mut redis).unwrap();
    let response = get_with(&url, &session.access).await;
    assert_eq!(response.status(), 429);
    let seconds: u64 = field(&response, "retry-after").parse().unwrap();
    assert!(seconds <= 66, "{seconds}: the window and a tenth by chance");
    stop(stack).await;
}

/// A flood of forged tokens costs only CPU of the edge.
#[tokio::test]
async fn forged_tokens_cause_no_store_or_auth_service_requests() {
    const FLOOD: usize = 20_000;
    // Verdicts are cached, so that a good token evicted by the flood would be noticed.
    let vars = json!({
        "store.timeout_ms": 3000, "revocation.delay_seconds_max": 600,
        "routes": [
            { "name": "auth", "path": "/auth/*", "access": "auth" },
            { "name": "api", "path": "/api/*", "access": "protected" },
        ],
    });
    let start = || Stack::start(&[], Some(vars));
    let stack = tokio::task::spawn_blocking(start).await.unwrap();
    let session = stack.login().await;
    let url = stack.edge("/api/hello");
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    // The auth service writes its log every 50 ms.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let trips = async || stack.metric("store_url", TRIPS, "").await;
    // The auth service checks the store periodically. It is stopped here, so that it does not
    // change the counts.
    stack.signal("auth", "-STOP");
    let auth = || stack.log("auth").lines().filter(|line| line.contains("\"path\"")).count();
    let (trips_before, auth_before) = (trips().await, auth());

    let (input, _) = session.access.rsplit_once('.').unwrap();
    let (head, payload) = input.split_once('.').unwrap();
    let mut claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let client = client();
    let begun = Instant::now();
    for batch in 0..FLOOD / 100 {
        let calls: Vec<_> = (0..100)
            .map(|place| {
                // Four kinds of forgery, no token twice.
                let number = batch * 100 + place;
                claims["jti"] = format!("forged-{number}").into();
                let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
                let mut signature = [0x5a; 64];
                signature[..8].copy_from_slice(&number.to_le_bytes());
                let signature = URL_SAFE_NO_PAD.encode(signature);
                let token = match number % 4 {
                    0 => format!("{input}.{signature}"),
                    1 => format!("{head}.{payload}.{signature}"),
                    2 => format!("opaque-{number}"),
                    _ => format!("{head}.{number:x}{payload}.{signature}"),
                };
                tokio::spawn(client.get(&url).bearer_auth(token).send())
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap().status(), 401);
        }
    }
    println!("{FLOOD} forged tokens in {:?}", begun.elapsed());
    assert_eq!(trips().await, trips_before, "the store was queried");
    // The good token is still cached: no store request.
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    assert_eq!(trips().await, trips_before);
    // What had reached the auth service would be logged now.
    stack.signal("auth", "-CONT");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(auth(), auth_before, "the auth service was queried: {}", stack.log("auth"));
    stop(stack).await;
}
