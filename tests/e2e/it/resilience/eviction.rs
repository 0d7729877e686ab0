//! A Redis that may evict keys.

use crate::support::http::{client, get_with};
use crate::support::stack::{Stack, stop};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn auth_service_warns_while_redis_may_evict() {
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
    let ready = async || {
        let answer = client().get(format!("{}/readyz", stack.fact("auth_admin_url"))).send().await;
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    };
    assert_eq!(ready().await, "ready\n");
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let mut set = |name: &str, value: &str| {
        redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(&mut redis).unwrap();
    };
    set("maxmemory", "100mb");
    set("maxmemory-policy", "allkeys-lru");
    let begun = Instant::now();
    while !ready().await.contains("allkeys-lru") {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", ready().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stack.log_with("auth", "\"event\":\"store_may_evict\"");
    set("maxmemory-policy", "noeviction");
    let begun = Instant::now();
    while ready().await != "ready\n" {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", ready().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stop(stack).await;
}

#[tokio::test]
async fn evicted_marker_is_restored() {
    let vars = json!({ "routes": [
        { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
        { "name": "auth", "path": "/auth/*", "access": "auth" },
    ] });
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], Some(vars))).await.unwrap();
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    // A marker is written again at each check for 60 s.
    let session = stack.login().await;
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&session.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    tokio::time::sleep(Duration::from_secs(66)).await;
    let markers: Vec<String> =
        redis::cmd("KEYS").arg("pc:revoked:sid:*").query(&mut redis).unwrap();
    assert_eq!(markers.len(), 1);
    redis::cmd("DEL").arg(&markers).exec(&mut redis).unwrap();
    let (api, begun) = (stack.edge("/api/hello"), Instant::now());
    while get_with(&api, &session.access).await.status() != 401 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the marker is not restored");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("an evicted marker was restored after {:?}", begun.elapsed());
    stop(stack).await;
}
