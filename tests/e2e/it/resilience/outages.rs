//! Each dependency stopped or killed. The edge reports it within its timeout, and requests that do
//! not need it pass.

use crate::support::http::{assert_refused, client, get, get_with};
use crate::support::stack::{Stack, Tokens, stop};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn unreachable_dependency_is_named_within_its_timeout() {
    let vars = json!({ "store.timeout_ms": 1000 });
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], Some(vars))).await.unwrap();
    let session = stack.login().await;
    let api = stack.edge("/api/hello");
    assert_eq!(get_with(&api, &session.access).await.status(), 200);
    let quick =
        async |code: &str, status: u16, request: reqwest::RequestBuilder, within_ms: u64| {
            let begun = Instant::now();
            assert_refused(request.send().await.unwrap(), status, code).await;
            let elapsed = begun.elapsed();
            assert!(elapsed < Duration::from_millis(within_ms), "{code}: {elapsed:?}");
        };
    let with_token = || get(&api).bearer_auth(&session.access);

    // The store hangs. The bound is its timeout, with some slack for a busy machine.
    stack.signal("redis-gateway", "-STOP");
    quick("store_timeout", 503, with_token(), 5000).await;
    assert_eq!(get(&stack.edge("/public/x")).send().await.unwrap().status(), 200);
    stack.signal("redis-gateway", "-CONT");
    let begun = Instant::now();
    while get_with(&api, &session.access).await.status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the store is back and the edge is not");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // Redis behind the redis gateway is dead.
    let other = stack.login().await;
    stack.signal("redis", "-KILL");
    quick("store_bad_response", 503, with_token(), 5000).await;

    // A logout waits in the database for the store. A refresh returns tokens.
    let logout = client()
        .post(stack.edge("/auth/logout"))
        .bearer_auth(&session.access)
        .send()
        .await
        .unwrap();
    assert_eq!(logout.status(), 202);
    let response = stack.refresh(&other.refresh).await;
    assert_eq!(response.status(), 200);
    assert!(!Tokens::read(response).await.access.is_empty());

    stack.signal("redis-gateway", "-KILL");
    quick("store_unreachable", 503, with_token(), 5000).await;

    stack.signal("upstream", "-KILL");
    quick("upstream_unreachable", 502, get(&stack.edge("/public/x")), 5000).await;

    stack.signal("auth", "-KILL");
    let login =
        client().post(stack.edge("/auth/login")).json(&json!({ "username": "x", "password": "y" }));
    quick("auth_unreachable", 503, login, 5000).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let logs = stack.own_log();
    assert!(logs.contains("redis ended") && logs.contains("gateway ended"), "{logs}");
    stop(stack).await;
}

#[tokio::test]
async fn requests_pass_without_the_auth_service() {
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
    let session = stack.login().await;
    let api = stack.edge("/api/hello");
    assert_eq!(get_with(&api, &session.access).await.status(), 200);
    stack.signal("auth", "-KILL");
    for _ in 0..20 {
        assert_eq!(get_with(&api, &session.access).await.status(), 200);
    }
    stop(stack).await;
}

/// A revocation in the database reaches the store as soon as the store is back, without another
/// request.
#[tokio::test]
async fn logout_reaches_the_store_after_it_recovers() {
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
    let session = stack.login().await;
    let api = stack.edge("/api/hello");
    assert_eq!(get_with(&api, &session.access).await.status(), 200);
    stack.signal("redis-gateway", "-STOP");
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&session.access);
    assert_eq!(logout.send().await.unwrap().status(), 202);
    stack.signal("redis-gateway", "-CONT");
    let begun = Instant::now();
    while get_with(&api, &session.access).await.status() != 401 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the revocation never arrives");
    }
    assert_refused(get_with(&api, &session.access).await, 401, "token_revoked").await;

    let log = stack.log_with("auth", "store_not_updated");
    let line = log.lines().find(|line| line.contains("store_not_updated")).unwrap_or_default();
    assert!(line.contains("\"request_id\":\""), "{log}");
    stop(stack).await;
}
