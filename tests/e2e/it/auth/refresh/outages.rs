//! Refreshes while the store fails.

use super::scene::{another, done, routes, send_refresh, start};
use crate::support::http::get_with;
use crate::support::proxy::{Fault, Proxy, fixed_response};
use crate::support::stack::{Stack, Tokens, stop};
use futures_util::future::join_all;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn refresh_succeeds_without_the_store() {
    let stack = tokio::task::spawn_blocking(|| {
        let vars = json!({ "store.timeout_ms": 300, "routes": routes() });
        Stack::start(&[], Some(vars))
    });
    let stack = stack.await.unwrap();
    let session = stack.login().await;
    stack.signal("redis-gateway", "-STOP");
    // The auth service itself replays the response within its grace period.
    let answers = join_all((0..4).map(|_| async {
        let response = send_refresh(&stack, &session.refresh).await;
        assert_eq!(response.status(), 200);
        Tokens::read(response).await.refresh
    }));
    let answers = answers.await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    stack.signal("redis-gateway", "-CONT");
    assert_eq!(send_refresh(&stack, &answers[0]).await.status(), 200);
    stop(vec![stack]).await;
}

#[tokio::test]
async fn store_failure_during_a_refresh_keeps_the_session() {
    let stack = start(&[]).await;
    let (auth, store) =
        (Proxy::start(stack.fact("auth_url")), Proxy::start(stack.fact("store_url")));
    let patient = json!({ "auth.timeout_ms": 15000 });
    let edge = another(&stack, &auth.url(), patient).await;
    let own = json!({ "store.url": store.url(), "breaker.failures": 0, "auth.timeout_ms": 15000 });
    let other = another(&stack, &auth.url(), own).await;
    let failing = fixed_response("500 Internal Server Error", "text/plain", "no");

    // One request waits while the store fails for a while.
    let session = stack.login().await;
    for isolate in [&edge, &other] {
        assert_eq!(get_with(&isolate.edge("/api/hello"), &session.access).await.status(), 200);
    }
    let before = done(&stack).await;
    auth.set(Fault::Late { ms: 3600 });
    let wait = async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        send_refresh(&other, &session.refresh).await
    };
    let harm = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        store.set(failing.clone());
        tokio::time::sleep(Duration::from_millis(2700)).await;
        store.set(Fault::None);
    };
    let (first, second, ()) = tokio::join!(send_refresh(&edge, &session.refresh), wait, harm);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    assert_eq!(first.text().await.unwrap(), second.text().await.unwrap());
    assert_eq!(done(&stack).await - before, 1);

    // The response cannot be stored at once. It is stored a moment later.
    let session = stack.login().await;
    let before = done(&stack).await;
    let harm = async {
        tokio::time::sleep(Duration::from_millis(1800)).await;
        store.set(failing.clone());
        tokio::time::sleep(Duration::from_millis(3000)).await;
        store.set(Fault::None);
    };
    let (first, ()) = tokio::join!(send_refresh(&other, &session.refresh), harm);
    auth.set(Fault::None);
    let second = send_refresh(&edge, &session.refresh).await;
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    assert_eq!(first.text().await.unwrap(), second.text().await.unwrap());
    assert_eq!(done(&stack).await - before, 1);

    // A store without writes is treated like no store.
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let session = stack.login().await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(1).exec(&mut redis).unwrap();
    let begun = Instant::now();
    assert_eq!(send_refresh(&edge, &session.refresh).await.status(), 200);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(0).exec(&mut redis).unwrap();
    stop(vec![edge, other, stack]).await;
}
