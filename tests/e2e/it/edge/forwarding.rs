//! Identity, credentials and bodies, as the upstream and the auth service receive them.

use crate::support::edge::EDGE;
use crate::support::environment::on_memcached;
use crate::support::http::{assert_refused, client, field, get, get_with, post, raw};
use crate::support::issuer::AUDIENCE;
use crate::support::stack::{SHARED, Stack, stop};
use serde_json::{Value, json};

#[tokio::test]
async fn upstream_receives_identity_headers_and_no_forged_ones() {
    let tokens = SHARED.login().await;
    let response = client()
        .post(SHARED.edge("/api/hello?q=1&r=%2F"))
        .bearer_auth(&tokens.access)
        .header("Portcullis-Subject", "mallory")
        .header("portcullis_subject", "mallory")
        .header("X-Portcullis-Scope", "admin")
        .header("x_portcullis_session", "forged")
        .header("X-Forwarded-For", "203.0.113.9")
        .header("Forwarded", "for=203.0.113.9")
        .header("X-Request-Id", "forged")
        .header("X-Own", "kept")
        .body("the body")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    let headers = body["headers"].as_object().unwrap();
    assert_eq!((&body["method"], &body["url"]), (&json!("POST"), &json!("/api/hello?q=1&r=%2F")));
    assert_eq!(body["body"], "the body");
    assert_eq!(headers["portcullis-scope"], "api:read api:write");
    assert_eq!(headers["portcullis-client"], "portcullis");
    assert_eq!(headers["x-own"], "kept");
    assert!(
        !text.contains("mallory") && !text.contains("forged") && !text.contains("203.0.113.9"),
        "{text}"
    );
    assert!(!headers.contains_key("authorization"), "the token stays at the edge");
    for name in ["portcullis-subject", "portcullis-session", "x-request-id"] {
        assert!(headers[name].as_str().is_some_and(|value| value.len() >= 16), "{name}: {text}");
    }
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
}

#[tokio::test]
async fn public_route_sends_no_identity_headers() {
    let request = get(&SHARED.edge("/public/x")).header("portcullis-subject", "mallory");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    assert!(!text.contains("portcullis-subject"), "{text}");
}

#[tokio::test]
async fn large_body_is_streamed_to_the_upstream() {
    let tokens = SHARED.login().await;
    let bytes = 20 * 1024 * 1024;
    let request = client().post(SHARED.edge("/api/upload")).bearer_auth(&tokens.access);
    let body: Value = request.body(vec![b'x'; bytes]).send().await.unwrap().json().await.unwrap();
    assert_eq!(body["body_bytes"], bytes);
}

#[tokio::test]
async fn scope_is_required_by_the_route() {
    let tokens = SHARED.login().await;
    let response = get_with(&SHARED.edge("/api/admin/users"), &tokens.access).await;
    let challenge = assert_refused(response, 403, "scope_insufficient").await;
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.ends_with("scope=\"admin\""), "{challenge}");
}

#[tokio::test]
async fn rate_limited_response_has_retry_after() {
    let tokens = SHARED.login().await;
    let url = SHARED.edge("/api/limited");
    for _ in 0..5 {
        assert_eq!(get_with(&url, &tokens.access).await.status(), 200);
    }
    let response = get_with(&url, &tokens.access).await;
    let seconds: u64 = field(&response, "retry-after").parse().unwrap();
    // A full window on a store without scripts.
    let most = if on_memcached() { 66 } else { 14 };
    assert!((1..=most).contains(&seconds), "{seconds}");
    assert_refused(response, 429, "rate_limited").await;
    assert_eq!(get_with(&SHARED.edge("/api/hello"), &tokens.access).await.status(), 200);
}

#[tokio::test]
async fn get_passes_with_an_empty_body_and_is_rejected_with_a_body() {
    let head = "GET /public/x HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n";
    let answer = raw(EDGE.fact("edge_url"), &format!("{head}content-length: 0\r\n\r\n"));
    assert!(answer.contains(" 200 OK"), "{answer}");
    let answer = raw(EDGE.fact("edge_url"), &format!("{head}content-length: 4\r\n\r\nbody"));
    assert!(answer.contains("body_unexpected"), "{answer}");
}

#[tokio::test]
async fn second_credential_is_rejected() {
    let head = "GET /api/hello HTTP/1.1\r\nhost: edge\r\nauthorization: Bearer a\r\nauthorization: Bearer b\r\n";
    let answer = raw(EDGE.fact("edge_url"), &format!("{head}connection: close\r\n\r\n"));
    assert!(answer.contains(" 400 ") && answer.contains("credential_malformed"), "{answer}");
}

/// Uses the echoing upstream as auth service, to see what the auth service receives.
#[tokio::test]
async fn auth_service_receives_no_identity_headers_and_bounded_bodies() {
    let vars = json!({
        "auth.url": SHARED.fact("upstream_url"),
        "auth.body_bytes_max": 1000,
    });
    // It tells the edge the client's address.
    let options = ["--only", "edge", "--engine", "wrangler"];
    let start = move || Stack::start(&options, Some(vars));
    let edge = tokio::task::spawn_blocking(start).await.unwrap();
    let response = client()
        .post(edge.edge("/auth/login"))
        .header("portcullis-subject", "mallory")
        .header("x-forwarded-for", "203.0.113.9")
        .header("te", "trailers")
        .header("proxy-authorization", "Basic x")
        .body("x".repeat(1000))
        .send()
        .await
        .unwrap();
    let body: Value = response.json().await.unwrap();
    let headers = body["headers"].as_object().unwrap();
    for name in ["portcullis-subject", "te", "proxy-authorization"] {
        assert!(!headers.contains_key(name), "{name}: {headers:?}");
    }
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(body["body_bytes"], 1000);
    let long = client().post(edge.edge("/auth/login")).body("x".repeat(1001));
    assert_refused(long.send().await.unwrap(), 413, "body_too_large").await;
    let chunked = "POST /auth/login HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    let answer =
        raw(edge.fact("edge_url"), &format!("{chunked}3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001)));
    assert!(answer.contains(" 413 "), "{answer}");
    stop(edge).await;
}

#[tokio::test]
async fn workerd_serves_the_same_bundle_without_wrangler() {
    let vars = json!({
        "store.url": SHARED.fact("store_url"),
        "STORE_TOKEN": SHARED.fact("edge_store_token"),
        "upstream.url": SHARED.fact("upstream_url"),
        "auth.url": SHARED.fact("auth_url"),
        "issuers": [{
            "issuer": SHARED.fact("edge_url"), "audience": AUDIENCE,
            "algorithms": ["EdDSA"],
            "jwks_url": format!("{}/.well-known/jwks.json", SHARED.fact("auth_url")),
        }],
    });
    let options = ["--only", "edge"];
    let edge =
        tokio::task::spawn_blocking(move || Stack::start(&options, Some(vars))).await.unwrap();
    let tokens = SHARED.login().await;
    assert_eq!(get_with(&edge.edge("/api/hello"), &tokens.access).await.status(), 200);
    assert_refused(get(&edge.edge("/api/hello")).send().await.unwrap(), 401, "token_missing").await;
    let login = post(&edge.edge("/auth/login"), json!({ "username": "x", "password": "y" })).await;
    assert_refused(login, 401, "credentials_invalid").await;
    stop(edge).await;
}
