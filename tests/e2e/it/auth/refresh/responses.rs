//! The client's view: the auth service's response, and limits and timeouts of the endpoints.

use super::scene::{another, send_refresh, start};
use crate::support::http::{assert_refused, client, field, post};
use crate::support::proxy::{Fault, Proxy};
use crate::support::stack::{SHARED, stop};
use futures_util::future::join_all;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test]
async fn auth_service_response_is_forwarded_unchanged() {
    let stack = start(&[]).await;
    let auth = Proxy::start(stack.fact("auth_url"));
    let edge = another(&stack, &auth.url(), json!({})).await;
    let raw = |fields: &str, body: &str| {
        let length = body.len();
        Fault::Responds(
            format!("HTTP/1.1 200 OK\r\n{fields}content-length: {length}\r\n\r\n{body}")
                .into_bytes(),
        )
    };
    let given = async |token: &str| {
        let response = send_refresh(&edge, token).await;
        assert_eq!(response.status(), 200, "{token}");
        let cookies: Vec<String> = response
            .headers()
            .get_all("set-cookie")
            .iter()
            .map(|value| value.to_str().unwrap().to_owned())
            .collect();
        let allowed_origin = field(&response, "access-control-allow-origin");
        (allowed_origin, cookies, response.text().await.unwrap())
    };
    let fields = "content-type: application/json\r\naccess-control-allow-origin: https://app.example\r\n\
         set-cookie: a=1; Path=/\r\nset-cookie: b=2; Expires=Wed, 01 Jan 2031 00:00:00 GMT\r\n";
    let body = "{\"access_token\": \"a\",\n \"x\":\n\n \"\u{e9}\" }";
    auth.set(raw(fields, body));
    let first = given("one").await;
    assert_eq!(
        (first.0.as_str(), first.1.len(), first.2.as_str()),
        ("https://app.example", 2, body)
    );
    auth.set(Fault::Refuses);
    assert_eq!(given("one").await, first);
    // A response without a content type, or without tokens, is forwarded and not cached.
    for (name, body) in [("two", "{\"a\": 1,\n \"b\":\n\n 2 }"), ("three", "<html>"), ("four", "")]
    {
        auth.set(raw("", body));
        assert_eq!(given(name).await.2, body);
        auth.set(Fault::Refuses);
        assert_refused(send_refresh(&edge, name).await, 503, "auth_unreachable").await;
    }
    // Larger than the cache allows.
    let long = json!({ "access_token": "x".repeat(60_000) }).to_string();
    auth.set(raw("content-type: application/json\r\n", &long));
    assert_eq!(given("five").await.2, long);
    // After a rejection, all waiting requests are sent at once.
    auth.set(Fault::None);
    let begun = Instant::now();
    let many = join_all((0..12).map(|_| send_refresh(&edge, "made-up"))).await;
    assert!(many.iter().all(|answer| answer.status() == 401));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    stop(vec![edge, stack]).await;
}

#[tokio::test]
async fn auth_endpoints_have_their_own_limits_and_timeouts() {
    let slow = Proxy::start(SHARED.fact("auth_url"));
    let edge = another(&SHARED, &slow.url(), json!({ "routes": [
        { "name": "login", "path": "/auth/login", "access": "auth", "timeout_ms": 2000,
          "limit": { "quota": 3, "window_seconds": 60, "by": "address", "algorithm": "fixed_window" } },
        { "name": "token", "path": "/oauth/token", "access": "auth", "endpoint": "token" },
        { "name": "auth", "path": "/auth/*", "access": "auth" },
        { "name": "jwks", "path": "/.well-known/*", "access": "auth" },
    ] })).await;
    let url = edge.edge("/auth/login");
    let login = || post(&url, json!({ "username": "unknown-user", "password": "x" }));
    let answer = login().await;
    assert_eq!(field(&answer, "cache-control"), "no-store");
    assert_refused(answer, 401, "credentials_invalid").await;
    // The route's own timeout is shorter than the general one.
    slow.set(Fault::Late { ms: 4000 });
    assert_refused(login().await, 503, "auth_timeout").await;
    slow.set(Fault::None);
    login().await;
    assert_refused(login().await, 429, "rate_limited").await;
    let big = "x".repeat(17 * 1024);
    let request = client().post(edge.edge("/oauth/token")).body(format!("refresh_token={big}"));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    assert_refused(request.send().await.unwrap(), 413, "body_too_large").await;
    let documents = client().get(edge.edge("/.well-known/jwks.json")).send().await.unwrap();
    assert_eq!(field(&documents, "cache-control"), "public, max-age=300");
    let tag = field(&documents, "etag");
    let again = client().get(edge.edge("/.well-known/jwks.json")).header("if-none-match", tag);
    assert_eq!(again.send().await.unwrap().status(), 304);
    let telling = "HTTP/1.1 400 Bad Request\r\nserver: auth-7.internal\r\nx-powered-by: x\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    slow.set(Fault::Responds(telling.into()));
    let answer = post(&edge.edge("/auth/nothing"), json!({})).await;
    assert_eq!(
        (answer.status().as_u16(), field(&answer, "server"), field(&answer, "x-powered-by")),
        (400, String::new(), String::new())
    );
    stop(vec![edge]).await;
}
