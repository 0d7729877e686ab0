//! Introspection of opaque tokens, and of tokens whose record was lost: how often the provider is
//! queried, and how its responses are read.

use crate::support::edge::start_edge;
use crate::support::environment::on_memcached;
use crate::support::http::{assert_refused, client, get_with};
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header, now};
use crate::support::provider::{Behaviour, Provider, answer};
use crate::support::stack::{SHARED, Stack, stop};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const PROVIDER: &str = "https://provider.example";

async fn start(provider: &Provider, revocation_seconds_max: u32, changes: Value) -> Stack {
    start_edge(vars(provider, revocation_seconds_max, changes)).await
}

fn vars(provider: &Provider, revocation_seconds_max: u32, changes: Value) -> Value {
    let mut introspection = json!({
        "url": provider.url("/introspect"), "client_id": "the edge",
        "client_secret_variable": "PROVIDER_SECRET",
    });
    introspection.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    json!({
        "issuers": [{
            "issuer": PROVIDER, "audience": AUDIENCE, "introspection": introspection,
        }],
        "routes": [
            { "name": "admin", "path": "/api/admin", "access": "protected", "scopes": ["admin"], "suffixes": "same" },
            { "name": "tenant", "path": "/api/acme", "access": "protected", "claims": { "tenant": "acme" },
              "suffixes": "same" },
            { "name": "api", "path": "/api/*", "access": "protected" },
        ],
        "PROVIDER_SECRET": "s3cret=&",
        "revocation.delay_seconds_max": revocation_seconds_max,
        "introspection.timeout_ms": 2000,
        "introspection.per_second_max": 40,
        "breaker.failures": 0,
    })
}

async fn verdict(stack: &Stack, path: &str, token: &str) -> String {
    let response = get_with(&stack.edge(path), token).await;
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    match body["code"].as_str() {
        Some(code) => format!("{status} {code}"),
        None => {
            let subject = body["headers"]["portcullis-subject"].as_str().unwrap_or("no subject");
            format!("{status} {subject}")
        }
    }
}

fn active(changes: Value) -> Behaviour {
    let mut body = json!({
        "active": true, "sub": "alice", "client_id": "web", "scope": "api:read", "exp": now() + 600,
        "tenant": "acme",
    });
    body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    answer(200, &body.to_string())
}

/// Returns a token that no other test, and no earlier run, has used.
fn token() -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    format!("opaque-{}-{}-{next}", std::process::id(), now())
}

/// A neighbour at the same address guesses tokens. What the isolate knows of a token lasts for no
/// time here.
#[tokio::test]
async fn known_opaque_token_passes_behind_an_address_that_guesses() {
    let provider = Provider::start(active(json!({})));
    let mut vars = vars(&provider, 0, json!({}));
    vars["invalid_token_limit"] = json!({ "quota": 5, "window_seconds": 600 });
    let stack = start_edge(vars).await;
    let known = token();
    assert_eq!(verdict(&stack, "/api/x", &known).await, "200 alice");
    provider.behave(answer(200, r#"{"active":false}"#));
    for _ in 0..5 {
        assert_eq!(verdict(&stack, "/api/x", &token()).await, "401 token_inactive");
    }
    let refused = verdict(&stack, "/api/x", &token()).await;
    assert_eq!(refused, "429 too_many_invalid_tokens");
    provider.behave(active(json!({})));
    assert_eq!(verdict(&stack, "/api/x", &known).await, "200 alice");
    stop(stack).await;
}

#[tokio::test]
async fn provider_is_queried_each_time_when_caching_is_off() {
    let provider = Provider::start(active(json!({})));
    let stack = start(&provider, 0, json!({})).await;
    let token = token();
    for _ in 0..3 {
        assert_eq!(verdict(&stack, "/api/x", &token).await, "200 alice");
    }
    let queries = provider.take();
    assert_eq!(queries.len(), 3);
    let query = &queries[0];
    assert!(query.starts_with("POST /introspect HTTP/1.1"), "{query}");
    assert!(query.to_lowercase().contains("content-type: application/x-www-form-urlencoded"));
    // "the edge" and "s3cret=&", form-encoded as RFC 6749 section 2.3.1 requires.
    let basic = "authorization: basic dghlJTIwZWRnZTpzM2NyZXQlM0QlMjY=".to_lowercase();
    assert!(query.to_lowercase().contains(&basic), "{query}");
    assert!(query.ends_with(&format!("token={token}&token_type_hint=access_token")));

    assert_eq!(verdict(&stack, "/api/admin", &token).await, "403 scope_insufficient");
    assert_eq!(verdict(&stack, "/api/acme", &token).await, "200 alice");
    provider.behave(active(json!({ "tenant": "other" })));
    assert_eq!(verdict(&stack, "/api/acme", &token).await, "403 claim_insufficient");
    // A token that the provider revoked is rejected at the next request.
    provider.behave(answer(200, r#"{"active":false}"#));
    assert_eq!(verdict(&stack, "/api/x", &token).await, "401 token_inactive");
    stop(stack).await;
}

#[tokio::test]
async fn introspection_response_is_cached_for_the_revocation_delay() {
    let provider = Provider::start(active(json!({})));
    let post = json!({ "client_auth": "client_secret_post" });
    let first = start(&provider, 6, post.clone()).await;
    let second = start(&provider, 6, post).await;
    let token = token();
    assert_eq!(verdict(&first, "/api/x", &token).await, "200 alice");
    let introspected = Instant::now();
    for _ in 0..5 {
        assert_eq!(verdict(&first, "/api/x", &token).await, "200 alice");
    }
    // Another isolate finds it in the store.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(verdict(&second, "/api/x", &token).await, "200 alice");
    assert_eq!(verdict(&second, "/api/admin", &token).await, "403 scope_insufficient", "on a hit");
    let queries = provider.take();
    assert_eq!(queries.len(), 1, "{queries:?}");
    assert!(queries[0].ends_with("&client_id=the%20edge&client_secret=s3cret%3D%26"));
    assert!(!queries[0].to_lowercase().contains("authorization"));

    provider.behave(answer(200, r#"{"active":false}"#));
    let mut last_accepted = Duration::ZERO;
    for stack in [&first, &second] {
        loop {
            let sent = introspected.elapsed();
            assert!(sent < Duration::from_secs(20), "the token is accepted for ever");
            match verdict(stack, "/api/x", &token).await.as_str() {
                "200 alice" => last_accepted = last_accepted.max(sent),
                refused => {
                    assert_eq!(refused, "401 token_inactive");
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    assert!(last_accepted <= Duration::from_secs(6), "{last_accepted:?} for a bound of 6 s");
    stop(first).await;
    stop(second).await;
}

/// An edge does not reuse the response for an edge with another audience, because they may be two
/// APIs.
#[tokio::test]
async fn record_for_another_audience_is_ignored() {
    let provider = Provider::start(active(json!({ "aud": AUDIENCE })));
    let first = start(&provider, 60, json!({})).await;
    let token = token();
    assert_eq!(verdict(&first, "/api/x", &token).await, "200 alice");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let vars = json!({
        "issuers": [{
            "issuer": PROVIDER, "audience": "https://other-api.example", "introspection": {
                "url": provider.url("/introspect"), "client_id": "e", "client_secret_variable": "S",
            },
        }],
        "S": "s", "revocation.delay_seconds_max": 60,
    });
    let other = start_edge(vars).await;
    assert_eq!(verdict(&other, "/api/x", &token).await, "401 audience_mismatch");
    assert_eq!(provider.take().len(), 2);
    stop(first).await;
    stop(other).await;
}

/// An introspection response that replaces a JWT's record is valid only for the revocation delay.
#[tokio::test]
async fn introspected_jwt_is_rejected_within_the_revocation_delay() {
    let provider = Provider::start(active(json!({})));
    let vars = json!({
        "issuers": [{
            "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks(),
            "introspection": {
                "url": provider.url("/introspect"), "client_id": "e", "client_secret_variable": "S",
            },
        }],
        "routes": [{ "name": "api", "path": "/api/*", "access": "protected" }],
        "S": "s", "revocation.delay_seconds_max": 2,
    });
    let (one, two) = (vars.clone(), vars);
    let one = start_edge(one).await;
    let two = start_edge(two).await;
    let jti = token();
    let jwt = TRUSTED.sign(&header(json!({})), &claims(json!({ "jti": jti, "sid": jti })));
    assert_eq!(verdict(&one, "/api/x", &jwt).await, "200 alice");
    let revoked = Instant::now();
    provider.behave(answer(200, r#"{"active":false}"#));
    let mut last_accepted = Duration::ZERO;
    while revoked.elapsed() < Duration::from_millis(4500) {
        for stack in [&one, &two] {
            let sent = revoked.elapsed();
            if verdict(stack, "/api/x", &jwt).await == "200 alice" {
                last_accepted = sent;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!(
        "an introspected token with a bound of 2 s, 2 isolates: last accepted after {last_accepted:?}"
    );
    assert!(last_accepted <= Duration::from_secs(2), "{last_accepted:?}");
    for stack in [&one, &two] {
        assert_eq!(verdict(stack, "/api/x", &jwt).await, "401 token_inactive");
    }
    assert!(provider.take().len() < 20);
    stop(one).await;
    stop(two).await;
}

#[tokio::test]
async fn ambiguous_introspection_responses_are_outages() {
    let provider = Provider::start(Behaviour::Hangs);
    let mut vars = vars(&provider, 0, json!({}));
    // All of these tokens are new, and come from one address.
    vars["introspection.per_second_max"] = 400.into();
    let stack = start_edge(vars).await;
    let good = json!({ "active": true, "sub": "alice" }).to_string();
    for (behaviour, expect) in [
        (Behaviour::Hangs, "503 introspection_unreachable"),
        (Behaviour::Stalls, "503 introspection_timeout"),
        (answer(500, &good), "503 introspection_bad_response"),
        (answer(401, &good), "503 introspection_bad_response"),
        (answer(302, &good), "503 introspection_bad_response"),
        (answer(200, "<html>active: true</html>"), "503 introspection_bad_response"),
        (answer(200, "true"), "503 introspection_bad_response"),
        (answer(200, r#"{"active":"true","sub":"alice"}"#), "503 introspection_bad_response"),
        (answer(200, r#"{"active":1,"sub":"alice"}"#), "503 introspection_bad_response"),
        (answer(200, r#"{"active":true,"active":false}"#), "503 introspection_bad_response"),
        (answer(200, r#"{"active":true}"#), "503 introspection_bad_response"),
        (answer(200, &format!("{}{}", good, " ".repeat(70_000))), "503 introspection_bad_response"),
        (Behaviour::Cut { announced: 1000, body: good.clone() }, "503 introspection_unreachable"),
        (active(json!({ "iss": "https://other.example" })), "401 issuer_unknown"),
        (active(json!({ "aud": "https://other.example" })), "401 audience_mismatch"),
        (active(json!({ "exp": now() - 60 })), "401 token_expired"),
        (active(json!({ "token_use": "refresh_token" })), "401 token_type_refused"),
        (active(json!({ "nbf": now() + 60 })), "401 token_not_yet_valid"),
        (active(json!({ "aud": ["x", AUDIENCE], "iss": PROVIDER })), "200 alice"),
        (answer(200, r#"{"active":true,"client_id":"batch"}"#), "200 no subject"),
    ] {
        provider.behave(behaviour.clone());
        let begun = Instant::now();
        assert_eq!(verdict(&stack, "/api/x", &token()).await, expect, "{behaviour:?}");
        assert!(begun.elapsed() < Duration::from_secs(10), "{behaviour:?}");
    }
    stop(stack).await;
}

#[tokio::test]
async fn invalid_token_is_introspected_rarely_and_good_tokens_still_pass() {
    let provider = Provider::start(answer(200, r#"{"active":false}"#));
    let stack = start(&provider, 0, json!({ "token_prefix": "opaque-" })).await;
    let bad = token();
    let begun = Instant::now();
    for _ in 0..30 {
        assert_eq!(verdict(&stack, "/api/x", &bad).await, "401 token_inactive");
    }
    // The token is introspected at once, after a second, and then less and less often.
    assert!(provider.take().len() as u64 <= 2 + begun.elapsed().as_secs());

    // The provider did not know it yet; a moment later it is active.
    provider.behave(active(json!({})));
    let begun = Instant::now();
    while verdict(&stack, "/api/x", &bad).await != "200 alice" {
        assert!(begun.elapsed() < Duration::from_secs(20), "a good token is refused");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    // A token without a provider: no query is sent.
    provider.take();
    assert_eq!(verdict(&stack, "/api/x", "other-prefix").await, "401 token_malformed");
    assert_eq!(verdict(&stack, "/api/x", "opaque-a.b.c").await, "401 token_malformed");
    assert!(provider.take().is_empty());

    // A flood of new tokens is introspected at a bounded rate.
    provider.behave(answer(200, r#"{"active":false}"#));
    let begun = Instant::now();
    let (url, client) = (stack.edge("/api/x"), client());
    let calls: Vec<_> =
        (0..300).map(|_| tokio::spawn(client.get(&url).bearer_auth(token()).send())).collect();
    for call in calls {
        let status = call.await.unwrap().unwrap().status().as_u16();
        assert!(matches!(status, 401 | 503), "{status}");
    }
    let (queries, seconds) = (provider.take().len() as u64, begun.elapsed().as_secs() + 2);
    assert!(queries <= 40 * seconds, "{queries} in {seconds} s");
    stop(stack).await;
}

/// Made-up tokens from one address use up one share of the rate. Tokens that this isolate has
/// accepted before still pass, and so do new tokens of other addresses.
#[tokio::test]
async fn genuine_tokens_pass_during_a_flood_of_made_up_ones() {
    let provider = Provider::start(Behaviour::Answers {
        containing: "token=genuine-".to_owned(),
        body: r#"{"active":true,"sub":"alice"}"#.to_owned(),
        otherwise: r#"{"active":false}"#.to_owned(),
    });
    let stack = start(&provider, 0, json!({})).await;
    let (url, client) = (stack.edge("/api/x"), client());
    let call = async |address: &str, token: &str| {
        let request = client.get(&url).header("cf-connecting-ip", address).bearer_auth(token);
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        body["code"].as_str().unwrap_or("200").to_owned()
    };
    let genuine = || format!("genuine-{}", token());
    let known = genuine();
    assert_eq!(call("192.0.2.1", &known).await, "200");
    provider.take();

    let (begun, mut flooded, mut busy) = (Instant::now(), 0, 0);
    while begun.elapsed() < Duration::from_secs(4) {
        let flood: Vec<String> = (0..60).map(|_| token()).collect();
        let flood = join_all(flood.iter().map(|made_up| call("192.0.2.66", made_up)));
        let new = genuine();
        let (flood, good, unseen) =
            tokio::join!(flood, call("192.0.2.66", &known), call("192.0.2.1", &new));
        assert_eq!(good, "200", "a token that was good before, from the flood's own address");
        assert_eq!(unseen, "200", "a new token from another address");
        flooded += flood.len();
        busy += flood.iter().filter(|code| *code == "introspection_busy").count();
        // The new tokens of the other address stay below its own share, 10 a second.
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let queries = provider.take();
    let wasted = queries.iter().filter(|query| !query.contains("token=genuine-")).count() as u64;
    println!("a flood of {flooded}: {wasted} introspected, {busy} refused");
    assert!(wasted <= 10 * (begun.elapsed().as_secs() + 2), "{wasted}");
    assert!(busy > 0, "the flood did not use up its share");
    stop(stack).await;
}

/// A token's claims may be so large that the store can't return its record. Other tokens are not
/// affected.
#[tokio::test]
async fn large_claims_of_one_token_do_not_affect_others() {
    let tenants: Vec<String> = (0..2000).map(|number| format!("tenant-{number:020}")).collect();
    let large = json!({ "active": true, "sub": "large", "tenant": tenants }).to_string();
    assert!((50_000..64_000).contains(&large.len()), "{}", large.len());
    let provider = Provider::start(Behaviour::Answers {
        containing: "token=large-".to_owned(),
        body: large,
        otherwise: r#"{"active":true,"sub":"alice"}"#.to_owned(),
    });
    let mut vars = vars(&provider, 60, json!({}));
    vars["breaker.failures"] = 5.into();
    let first = start_edge(vars.clone()).await;
    let large = format!("large-{}", token());
    for _ in 0..2 {
        assert_eq!(verdict(&first, "/api/x", &large).await, "200 large");
    }
    // The record is written after the response.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second = start_edge(vars).await;
    let verdicts = join_all((0..6).map(|_| verdict(&second, "/api/x", &large))).await;
    assert_eq!(verdict(&second, "/api/x", &token()).await, "200 alice", "after {verdicts:?}");
    assert_eq!(verdicts, ["200 large"; 6]);
    stop(vec![first, second]).await;
}

/// After a flush of Redis, each token with a valid signature is introspected once, and its record
/// is restored. An ended session stays ended.
#[tokio::test]
async fn lost_record_is_introspected_once_and_restored() {
    // This test reads Redis; `edge::memcached` has the same test for the other store.
    if on_memcached() {
        return;
    }
    let stack = tokio::task::spawn_blocking(|| Stack::start(&[], None)).await.unwrap();
    let (session, ended) = (stack.login().await, stack.login().await);
    let url = stack.edge("/api/hello");
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&ended.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);

    let mut redis = redis::Client::open(stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
    let queries = async || {
        stack.metric("auth_url", "portcullis_auth_database_queries_total", "request").await
    };
    let before = queries().await;
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    // It is written after the response.
    let mut records =
        || redis::cmd("KEYS").arg("pc:token:*").query::<Vec<String>>(&mut redis).unwrap();
    let (begun, mut keys) = (Instant::now(), records());
    while keys.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the record does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
        keys = records();
    }
    for _ in 0..9 {
        assert_eq!(get_with(&url, &session.access).await.status(), 200);
    }
    assert_eq!(queries().await - before, 1);
    assert_eq!(keys.len(), 1, "{keys:?}");
    let ttl: i64 = redis::cmd("TTL").arg(&keys[0]).query(&mut redis).unwrap();
    assert!((1..=900).contains(&ttl), "{ttl}");
    // By introspection, or by the marker that the auth service has published again.
    let response = get_with(&url, &ended.access).await;
    assert_eq!(response.status(), 401, "{}", response.text().await.unwrap());

    // A logout also revokes a restored record.
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&session.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert_refused(get_with(&url, &session.access).await, 401, "token_revoked").await;

    // Without the auth service a missing record is an outage, not a permit.
    let other = stack.login().await;
    stack.signal("auth", "-KILL");
    let () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
    assert_refused(get_with(&url, &other.access).await, 503, "introspection_unreachable").await;
    stop(stack).await;
}

#[tokio::test]
async fn introspection_endpoint_requires_client_authentication() {
    let url = format!("{}/oauth/introspect", SHARED.fact("auth_url"));
    let session = SHARED.login().await;
    let introspect = async |secret: Option<&str>, token: &str| {
        let form = format!("token={token}");
        let mut request = client()
            .post(&url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        if let Some(secret) = secret {
            request = request.basic_auth("edge", Some(secret));
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    for secret in [None, Some(""), Some("wrong"), Some(SHARED.fact("store_token"))] {
        let (status, body) = introspect(secret, &session.access).await;
        assert_eq!((status, &body["code"]), (401, &json!("client_invalid")), "{secret:?}");
        assert_eq!(body["error"], "invalid_client");
    }
    let secret = SHARED.fact("introspection_secret");
    let (status, body) = introspect(Some(secret), &session.access).await;
    assert_eq!((status, &body["active"]), (200, &json!(true)));
    assert_eq!(body["scope"], "api:read api:write");
    assert!(body["exp"].as_u64().unwrap() > now() && body["sid"].is_string(), "{body}");
    let (input, _) = session.access.rsplit_once('.').unwrap();
    for token in [format!("{input}.AAAA"), "x".to_owned(), session.refresh.clone()] {
        assert_eq!(introspect(Some(secret), &token).await, (200, json!({ "active": false })));
    }
    assert_eq!(introspect(Some(secret), "").await.0, 400);
}
