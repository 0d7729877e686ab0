//! Limits while the store is slow, unreachable or full.

use super::scene::{call, open, passed, protected, start, store, token};
use crate::support::environment::on_memcached;
use crate::support::gateway::TOKEN;
use crate::support::http::{assert_refused, client, field};
use crate::support::issuer::{ISSUER, TRUSTED, issuer_at, serve};
use crate::support::provider::{Provider, answer};
use crate::support::proxy::{Fault, Proxy};
use crate::support::stack::stop;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Without the store, limits deny, count locally or allow. The route's policy decides about tokens.
#[tokio::test]
async fn routes_and_limits_follow_their_store_outage_policy() {
    let limit = |outage: &str| json!({ "quota": 5, "window_seconds": 600, "by": "address", "on_store_outage": outage, "local_quota": 3 });
    let provider =
        Provider::start(answer(200, &json!({ "active": true, "sub": "alice" }).to_string()));
    let mut issuer = issuer_at(&serve(TRUSTED.jwks()));
    issuer["introspection"] = json!({
        "url": provider.url("/i"), "client_id": "e", "client_secret_variable": "PROVIDER_SECRET",
    });
    let route = |name: &str, outage: &str| protected(name, json!({ "on_store_outage": outage }));
    let stack = start(json!({
        "issuers": [issuer], "PROVIDER_SECRET": "s", "introspection.per_second_max": 20,
        "store.url": if on_memcached() { "memcached://127.0.0.1:1" } else { "http://127.0.0.1:1" },
        "routes": [
            open("shut", limit("deny")), open("local", limit("local")), open("free", limit("allow")),
            route("deny", "deny"), route("introspect", "introspect"), route("signature", "signature"),
            protected("both", json!({ "on_store_outage": "signature", "limit": limit("local") })),
        ],
    }))
    .await;
    let here = "192.0.2.1";
    assert_refused(call(&stack, "/public/shut", here, None).await, 503, "store_unreachable").await;
    assert_eq!(passed(&stack, "/public/free", here, None, 9).await, 9);
    assert_eq!(passed(&stack, "/public/local", here, None, 9).await, 3);
    let response = call(&stack, "/public/local", "192.0.2.2", None).await;
    assert_eq!(
        (response.status().as_u16(), &*field(&response, "portcullis-degraded")),
        (200, "limit=local")
    );

    let token = token(json!({}));
    let with = async |name: &str| call(&stack, &format!("/api/{name}"), here, Some(&token)).await;
    assert_refused(with("deny").await, 503, "store_unreachable").await;
    let response = with("signature").await;
    assert_eq!(
        (response.status().as_u16(), &*field(&response, "portcullis-degraded")),
        (200, "token=signature")
    );
    let response = with("both").await;
    assert_eq!(field(&response, "portcullis-degraded"), "token=signature, limit=local");
    assert!(provider.take().is_empty());
    let response = with("introspect").await;
    assert_eq!(
        (response.status().as_u16(), &*field(&response, "portcullis-degraded")),
        (200, "token=introspect")
    );
    assert_eq!(provider.take().len(), 1);

    // An outage of the store does not overload the provider.
    let (client, mut calls) = (client(), Vec::new());
    let begun = Instant::now();
    for _ in 0..200 {
        let request = client.get(stack.edge("/api/introspect")).bearer_auth(&token);
        calls.push(tokio::spawn(async move {
            let response = request.send().await.unwrap();
            let (status, body) = (response.status().as_u16(), response.text().await.unwrap());
            assert!(
                status == 200 || (status == 503 && body.contains("introspection_busy")),
                "{body}"
            );
            status
        }));
    }
    let mut good = 0;
    for call in calls {
        good += usize::from(call.await.unwrap() == 200);
    }
    let queries = provider.take().len();
    let seconds = begun.elapsed().as_secs() as usize + 2;
    assert!(
        good == queries && queries <= seconds * 20,
        "{queries} queries for {good} in {seconds} s"
    );

    provider.behave(answer(200, r#"{"active":false}"#));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_refused(with("introspect").await, 401, "token_inactive").await;
    provider.behave(answer(200, r#"{"active":true,"sub":"mallory"}"#));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_refused(with("introspect").await, 401, "token_not_registered").await;
    let log = stack.log("edge");
    assert!(
        log.contains("\"degraded\":\"token=signature\"")
            && log.contains("\"breakers\":{\"store\":")
    );
    stop(stack).await;
}

/// Local counting has one count for all costs, ends with the outage, and also applies to limits
/// that are counted after the response.
#[tokio::test]
async fn local_counting_is_shared_by_costs_and_ends_with_the_outage() {
    let (redis, gateway) = store().await;
    let near = Proxy::start(&gateway.url);
    let limit = |name: &str, more: Value| {
        let mut limit = json!({
            "name": name, "quota": 1000, "window_seconds": 600, "by": "subject", "local_quota": 10,
        });
        limit.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        limit
    };
    let route = |name: &str, limit: &str, cost: u32| {
        protected(name, json!({ "limits": [limit], "cost": cost, "on_store_outage": "signature" }))
    };
    let stack = start(json!({
        "store.url": near.url(), "STORE_TOKEN": TOKEN, "breaker.failures": 1,
        "breaker.open_ms_max": 4000,
        "limits": [
            limit("shared", json!({})),
            limit("leased", json!({ "timing": "leased", "local_quota": 3 })),
            limit("shut", json!({ "timing": "leased", "on_store_outage": "deny" })),
            limit("watched", json!({ "on_store_outage": "deny", "shadow": true })),
        ],
        "routes": [
            route("one", "shared", 1), route("two", "shared", 2), route("leased", "leased", 1),
            route("shut", "shut", 1), route("watched", "watched", 1),
        ],
    }))
    .await;
    let token = token(json!({}));
    let here = "192.0.2.1";
    assert_eq!(passed(&stack, "/api/one", here, Some(&token), 3).await, 3);
    near.set(Fault::Refuses);
    let admitted = passed(&stack, "/api/one", here, Some(&token), 4).await
        + 2 * passed(&stack, "/api/two", here, Some(&token), 9).await;
    assert_eq!(admitted, 10, "one count for both");
    assert_eq!(passed(&stack, "/api/watched", here, Some(&token), 5).await, 5, "merely watched");
    // Without a lease, each isolate counts as for any other limit.
    assert_eq!(passed(&stack, "/api/leased", here, Some(&token), 12).await, 3);
    assert_eq!(passed(&stack, "/api/shut", here, Some(&token), 12).await, 0);
    near.set(Fault::None);
    let begun = Instant::now();
    while passed(&stack, "/api/one", here, Some(&token), 1).await == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it is still counted here");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        passed(&stack, "/api/one", here, Some(&token), 5).await,
        5,
        "the store counts again"
    );
    stop((stack, redis, gateway)).await;
}

/// A full Redis accepts no counts but can be read, so tokens are validated as always.
#[tokio::test]
async fn read_only_store_still_checks_revocations() {
    let (redis, gateway) = store().await;
    let limit = json!({ "quota": 1000, "window_seconds": 600, "by": "address" });
    let stack = start(json!({
        "store.url": gateway.url, "STORE_TOKEN": TOKEN, "breaker.failures": 2,
        "routes": [open("open", limit.clone()), protected("token", json!({ "limit": limit }))],
    }))
    .await;
    let keys = portcullis_core::StoreKeys::new("pc");
    gateway.run(json!(["SET", keys.revoked_jti(ISSUER, "gone"), "1", "EX", "600"])).await;
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "maxmemory", "1"])
        .query(&mut redis.connection())
        .unwrap();
    assert_eq!(passed(&stack, "/public/open", "192.0.2.1", None, 8).await, 8);
    let response = call(&stack, "/api/token", "192.0.2.1", Some(&token(json!({})))).await;
    assert_eq!(
        (response.status().as_u16(), &*field(&response, "portcullis-degraded")),
        (200, "limit=local")
    );
    let gone = token(json!({ "jti": "gone" }));
    assert_refused(
        call(&stack, "/api/token", "192.0.2.1", Some(&gone)).await,
        401,
        "token_revoked",
    )
    .await;
    stop((stack, redis, gateway)).await;
}
