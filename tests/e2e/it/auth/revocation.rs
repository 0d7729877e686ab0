//! Revocations at the auth service: repeated ones, and those that wait for the store.

use crate::support::http::{assert_refused, client, get_with};
use crate::support::stack::{SHARED, Stack, Tokens, stop};
use reqwest::Response;
use serde_json::json;
use std::time::{Duration, Instant};

/// Revokes a token directly at the auth service, where no limit of the edge applies.
async fn revoke(stack: &Stack, token: &str) -> Response {
    let request = client().post(format!("{}/oauth/revoke", stack.fact("auth_url")));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(format!("token={token}")).send().await.unwrap()
}

async fn logout(stack: &Stack, session: &Tokens) -> Response {
    let request = client().post(format!("{}/auth/logout", stack.fact("auth_url")));
    request.json(&json!({ "refresh_token": session.refresh })).send().await.unwrap()
}

/// Counts the lines of an event in the auth service's log.
fn logged(stack: &Stack, event: &str) -> usize {
    stack.log("auth").matches(&format!("\"event\":\"{event}\"")).count()
}

#[tokio::test]
async fn repeated_revocations_get_the_same_response_and_are_recorded_once() {
    let (ended, live) = (SHARED.login().await, SHARED.login().await);
    let before = ["logout", "token_revoked"].map(|event| logged(&SHARED, event));
    for _ in 0..100 {
        assert_eq!(logout(&SHARED, &ended).await.status(), 204);
        assert_eq!(revoke(&SHARED, &live.access).await.status(), 200);
    }
    let after = ["logout", "token_revoked"].map(|event| logged(&SHARED, event));
    // Other tests log out of the same system.
    assert!(after[0] - before[0] < 50, "{} logouts are recorded", after[0] - before[0]);
    assert!(after[1] - before[1] < 50, "{} revocations are recorded", after[1] - before[1]);
}

#[tokio::test]
async fn end_of_a_session_is_not_lost_when_its_token_is_revoked_too() {
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
    let session = stack.login().await;
    let api = stack.edge("/api/hello");
    let next = Tokens::read(stack.refresh(&session.refresh).await).await;
    assert_eq!(get_with(&api, &next.access).await.status(), 200);
    stack.signal("redis-gateway", "-STOP");
    assert_eq!(logout(&stack, &next).await.status(), 202);
    // The revocation of one token must not discard that of the whole session.
    assert_eq!(revoke(&stack, &session.access).await.status(), 202);
    assert_eq!(logout(&stack, &next).await.status(), 202);
    stack.signal("redis-gateway", "-CONT");
    let begun = Instant::now();
    while logout(&stack, &next).await.status() != 204 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the revocation never arrives");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for token in [&session.access, &next.access] {
        assert_refused(get_with(&api, token).await, 401, "token_revoked").await;
    }
    stop(stack).await;
}
