//! Simultaneous refreshes, lost responses, and leases whose holder died.

use super::scene::{another, done, send_refresh, start};
use crate::support::http::{assert_refused, client, client_builder, field, get_with};
use crate::support::proxy::{Fault, Proxy, fixed_response};
use crate::support::stack::{Tokens, stop};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

#[tokio::test]
async fn concurrent_refreshes_in_two_isolates_share_one_response() {
    let stack = start(&[]).await;
    let other = another(&stack, stack.fact("auth_url"), json!({})).await;
    let session = stack.login().await;
    for (round, token) in
        [session.refresh.clone(), stack.login().await.refresh].into_iter().enumerate()
    {
        let before = done(&stack).await;
        let ten = (0..10).map(|place| {
            let edge = if place % 2 == 0 { &stack } else { &other };
            async {
                let response = send_refresh(edge, &token).await;
                assert_eq!(response.status(), 200);
                assert_eq!(field(&response, "cache-control"), "no-store");
                assert_eq!(field(&response, "content-type"), "application/json");
                response.text().await.unwrap()
            }
        });
        let answers = join_all(ten).await;
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{round}: {answers:?}");
        assert_eq!(done(&stack).await - before, 1);
        let pair: Value = serde_json::from_str(&answers[0]).unwrap();
        // The new token is accepted everywhere at once, and the session continues.
        for edge in [&stack, &other] {
            let url = edge.edge("/api/hello");
            assert_eq!(get_with(&url, pair["access_token"].as_str().unwrap()).await.status(), 200);
        }
        let next = send_refresh(&other, pair["refresh_token"].as_str().unwrap()).await;
        assert_eq!(next.status(), 200);
        Tokens::read(next).await;
    }
    // Stored responses can be decrypted only with the refresh token.
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("pc:refresh:*").query(&mut redis).unwrap();
    assert!(keys.len() >= 4, "{keys:?}");
    for key in &keys {
        let value: String = redis::cmd("GET").arg(key).query(&mut redis).unwrap_or_default();
        assert!(
            !key.contains("pcr_") && !value.contains("eyJ") && !value.contains("pcr_"),
            "{value}"
        );
        let left: i64 = redis::cmd("TTL").arg(key).query(&mut redis).unwrap();
        assert!((0..=10).contains(&left), "{key}: {left}");
    }
    let log = stack.log("edge") + &other.log("edge");
    assert!(log.contains("\"refresh\":\"first\"") && log.contains("\"refresh\":\"replayed\""));
    stop(vec![other, stack]).await;
}

#[tokio::test]
async fn lost_response_is_replayed_and_late_response_is_awaited() {
    let stack = start(&[]).await;
    let auth = Proxy::start(stack.fact("auth_url"));
    let edge = another(&stack, &auth.url(), json!({ "auth.timeout_ms": 600 })).await;

    // The client disconnects before the response arrives.
    let session = stack.login().await;
    let before = done(&stack).await;
    auth.set(Fault::Late { ms: 300 });
    let impatient = client_builder().timeout(Duration::from_millis(100));
    let request = impatient.build().unwrap().post(edge.edge("/auth/refresh"));
    let lost = request.json(&json!({ "refresh_token": session.refresh })).send().await;
    assert!(lost.unwrap_err().is_timeout());
    auth.set(Fault::None);
    let answer = send_refresh(&edge, &session.refresh).await;
    assert_eq!(answer.status(), 200);
    let next = Tokens::read(answer).await;
    assert_eq!(done(&stack).await - before, 1);
    assert_eq!(send_refresh(&edge, &next.refresh).await.status(), 200);

    // The auth service responds after the timeout. The client finds the response when it retries.
    let session = stack.login().await;
    let before = done(&stack).await;
    auth.set(Fault::Late { ms: 1500 });
    assert_refused(send_refresh(&edge, &session.refresh).await, 503, "auth_timeout").await;
    let begun = Instant::now();
    let answer = send_refresh(&edge, &session.refresh).await;
    assert_eq!(answer.status(), 200, "{:?}", begun.elapsed());
    let next = Tokens::read(answer).await;
    assert_eq!(done(&stack).await - before, 1);
    auth.set(Fault::None);
    assert_eq!(send_refresh(&edge, &next.refresh).await.status(), 200);
    stop(vec![edge, stack]).await;
}

#[tokio::test]
async fn lease_of_a_dead_holder_is_taken_over_and_errors_are_not_cached() {
    let stack = start(&[]).await;
    let auth = Proxy::start(stack.fact("auth_url"));
    let short = json!({ "auth.timeout_ms": 1500, "store.timeout_ms": 500 });
    let dying = another(&stack, &auth.url(), short.clone()).await;
    let edge = another(&stack, &auth.url(), short).await;
    let session = stack.login().await;
    auth.set(Fault::Hangs);
    let url = dying.edge("/auth/refresh");
    let body = json!({ "refresh_token": session.refresh });
    let held = tokio::spawn(async move { client().post(url).json(&body).send().await });
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let begun = Instant::now();
    loop {
        let leases: Vec<String> = redis::cmd("KEYS").arg("pc:refresh:*").query(&mut redis).unwrap();
        if !leases.is_empty() {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the lease was not taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    dying.signal("edge", "-KILL");
    assert!(held.await.unwrap().is_err());
    auth.set(Fault::None);
    let begun = Instant::now();
    let answer = send_refresh(&edge, &session.refresh).await;
    assert_eq!(answer.status(), 200);
    let waited = begun.elapsed();
    // The lease lasts for the timeout, two store requests and a second, rounded up to whole
    // seconds.
    assert!(waited > Duration::from_secs(1) && waited < Duration::from_secs(6), "{waited:?}");
    let next = Tokens::read(answer).await;

    // An error is not replayed.
    auth.set(fixed_response(
        "503 Service Unavailable",
        "application/json",
        r#"{"code":"overloaded"}"#,
    ));
    let failed = send_refresh(&edge, &next.refresh).await;
    assert_eq!(failed.status(), 503);
    assert_eq!(failed.json::<Value>().await.unwrap()["code"], "overloaded");
    // A server's error page is not forwarded.
    let page = "<html>Traceback: password=x at db.internal</html>";
    auth.set(fixed_response("500 Internal Server Error", "text/html", page));
    assert_refused(send_refresh(&edge, &next.refresh).await, 502, "auth_bad_response").await;
    auth.set(Fault::Resets);
    assert_refused(send_refresh(&edge, &next.refresh).await, 503, "auth_unreachable").await;
    auth.set(Fault::None);
    assert_eq!(send_refresh(&edge, &next.refresh).await.status(), 200);
    let wrong = send_refresh(&edge, "made-up").await;
    assert_refused(wrong, 401, "refresh_token_invalid").await;
    stop(vec![dying, edge, stack]).await;
}

/// Workers Free allows 50 subrequests. A request that waits for a lease must not use them up.
#[tokio::test]
async fn long_wait_for_a_lease_costs_few_store_requests() {
    let stack = start(&[]).await;
    let vars = json!({ "auth.timeout_ms": 20000, "store.timeout_ms": 1000 });
    let edge = another(&stack, stack.fact("auth_url"), vars).await;
    let keys = portcullis_core::StoreKeys::new("pc");
    let key = keys.refresh(&portcullis_core::TokenHash::of("held elsewhere"));
    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let () = redis::cmd("SET").arg(key).arg("Lother").arg("EX").arg(60).query(&mut redis).unwrap();
    let trips =
        async || stack.metric("store_url", "portcullis_redis_gateway_requests_total", "").await;
    // The auth service checks the store periodically.
    stack.signal("auth", "-STOP");
    let before = trips().await;
    let begun = Instant::now();
    let patient = client_builder().timeout(Duration::from_secs(60));
    let request = patient.build().unwrap().post(edge.edge("/auth/refresh"));
    let body = json!({ "refresh_token": "held elsewhere" });
    assert_refused(request.json(&body).send().await.unwrap(), 503, "refresh_pending").await;
    let (trips, waited) = (trips().await - before, begun.elapsed());
    println!("a lease of another request: {trips} store requests in {waited:?}");
    assert!(waited > Duration::from_secs(20), "{waited:?}");
    assert!(trips <= 40, "{trips}");
    stack.signal("auth", "-CONT");
    stop(vec![edge, stack]).await;
}
