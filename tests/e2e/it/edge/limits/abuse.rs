//! Floods, revoked tokens and guessed tokens: their cost, and the clients that they affect.

use super::scene::{call, passed, protected, start, store, token, trips};
use crate::support::gateway::TOKEN;
use crate::support::http::{assert_refused, field};
use crate::support::issuer::{ISSUER, now};
use crate::support::stack::stop;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn requests_over_the_limit_do_not_query_the_store() {
    let (redis, gateway) = store().await;
    let limit = json!({ "quota": 5, "window_seconds": 600, "by": "subject" });
    let more =
        |name: &str| json!({ "name": name, "quota": 1000, "window_seconds": 600, "by": "address" });
    let stack = start(json!({
        "store.url": gateway.url, "STORE_TOKEN": TOKEN, "limits": [more("m1"), more("m2")],
        "routes": [protected("flood", json!({ "limit": limit, "limits": ["m1", "m2"] }))],
    }))
    .await;
    let token = token(json!({}));
    // The script is sent once for all limits. After that, one request is enough.
    for expect in [2, 3, 4, 5, 6] {
        assert_eq!(passed(&stack, "/api/flood", "192.0.2.1", Some(&token), 1).await, 1);
        assert_eq!(trips(&gateway).await, expect);
    }
    assert_eq!(passed(&stack, "/api/flood", "192.0.2.1", Some(&token), 1).await, 0);
    let before = trips(&gateway).await;
    for _ in 0..300 {
        let response = call(&stack, "/api/flood", "192.0.2.1", Some(&token)).await;
        assert_eq!(response.status(), 429);
    }
    assert_eq!(trips(&gateway).await, before, "the store was queried");
    stop((stack, redis, gateway)).await;
}

#[tokio::test]
async fn revoked_token_does_not_use_up_the_subjects_quota() {
    let (redis, gateway) = store().await;
    let limit = json!({ "quota": 5, "window_seconds": 600, "by": "subject" });
    let stack = start(json!({
        "store.url": gateway.url, "STORE_TOKEN": TOKEN,
        "routes": [protected("victim", json!({ "limit": limit }))],
    }))
    .await;
    let keys = portcullis_core::StoreKeys::new("pc");
    let marker = keys.revoked_jti(ISSUER, "stolen");
    gateway.run(json!(["SET", marker, "1", "EX", "600"])).await;
    let (stolen, own) = (token(json!({ "jti": "stolen" })), token(json!({ "jti": "own" })));
    for _ in 0..3 {
        for _ in 0..20 {
            let response = call(&stack, "/api/victim", "192.0.2.6", Some(&stolen)).await;
            assert_refused(response, 401, "token_revoked").await;
        }
        tokio::time::sleep(Duration::from_millis(5200)).await;
    }
    assert_eq!(passed(&stack, "/api/victim", "192.0.2.1", Some(&own), 5).await, 4, "one was lost");
    stop((stack, redis, gateway)).await;
}

#[tokio::test]
async fn invalid_token_limit_blocks_uncached_tokens_only() {
    let stack = start(json!({
        "invalid_token_limit": { "quota": 10, "window_seconds": 600 },
        "ip_rules": { "unlimited": ["203.0.113.7"] },
        "routes": [protected("x", json!({}))],
    }))
    .await;
    let good = token(json!({}));
    // A cached token from the attacker's own address represents a client behind the same NAT.
    assert_eq!(passed(&stack, "/api/x", "192.0.2.66", Some(&good), 1).await, 1);
    let (input, _) = good.rsplit_once('.').unwrap();
    let guess = |number: usize| {
        let mut signature = [0x5a; 64];
        signature[..8].copy_from_slice(&number.to_le_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let mut codes = Vec::new();
    for number in 0..30 {
        let response = call(&stack, "/api/x", "192.0.2.66", Some(&guess(number))).await;
        let (status, retry_after) = (response.status().as_u16(), field(&response, "retry-after"));
        let body: Value = response.json().await.unwrap();
        codes.push(body["code"].as_str().unwrap().to_owned());
        if status == 429 {
            assert!(retry_after.parse::<u64>().is_ok_and(|seconds| seconds <= 67), "{retry_after}");
            assert!(body["type"].as_str().unwrap().ends_with("#abnormal-usage-detected"));
        }
    }
    assert!(codes[..10].iter().all(|code| code == "signature_invalid"), "{codes:?}");
    assert!(codes[10..].iter().all(|code| code == "too_many_invalid_tokens"), "{codes:?}");
    // The good client passes, both from that address and from another. From that address, an
    // uncached token does not pass.
    assert_eq!(passed(&stack, "/api/x", "192.0.2.66", Some(&good), 30).await, 30);
    let other = token(json!({ "jti": "j2" }));
    assert_refused(
        call(&stack, "/api/x", "192.0.2.66", Some(&other)).await,
        429,
        "too_many_invalid_tokens",
    )
    .await;
    assert_eq!(passed(&stack, "/api/x", "192.0.2.1", Some(&other), 30).await, 30);
    // Expired and missing tokens are not guesses.
    let late = token(json!({ "exp": now() - 600 }));
    for _ in 0..20 {
        assert_refused(
            call(&stack, "/api/x", "192.0.2.2", Some(&late)).await,
            401,
            "token_expired",
        )
        .await;
        assert_refused(call(&stack, "/api/x", "192.0.2.2", None).await, 401, "token_missing").await;
    }
    for number in 0..20 {
        let response = call(&stack, "/api/x", "203.0.113.7", Some(&guess(number))).await;
        assert_refused(response, 401, "signature_invalid").await;
    }
    stop(stack).await;
}
