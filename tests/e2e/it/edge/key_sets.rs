//! Key sets of an issuer that rotates keys, responds slowly, stalls, sends malformed sets and dies.

use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, client_builder, field, get, get_with};
use crate::support::issuer::{AUDIENCE, ISSUER, Issuer, claims, header, issuer_at};
use crate::support::provider::{Behaviour, Provider, answer};
use crate::support::stack::{SHARED, Stack, stop};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn start(vars: Value) -> Stack {
    start_edge(vars).await
}

/// Returns the status of a call, and the code if it was rejected.
async fn verdict(stack: &Stack, token: &str) -> String {
    let response = get_with(&stack.edge("/api/x"), token).await;
    let status = response.status().as_u16();
    let body: Value = response.json().await.unwrap();
    format!("{status} {}", body["code"].as_str().unwrap_or_default()).trim().to_owned()
}

fn token(issuer: &Issuer, kid: &str) -> String {
    let jti: u64 = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .subsec_nanos()
        .into();
    issuer.sign(&header(json!({ "kid": kid })), &claims(json!({ "jti": format!("{kid}{jti}") })))
}

fn set(keys: &[(&Issuer, &str)]) -> String {
    let keys: Vec<Value> = keys.iter().map(|(issuer, kid)| issuer.jwk(kid)).collect();
    json!({ "keys": keys }).to_string()
}

#[tokio::test]
async fn rotated_key_is_accepted_at_once_and_withdrawn_key_is_rejected() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let provider = Provider::serving(&set(&[(&old, "old")]));
    let vars = json!({
        "issuers": [issuer_at(&provider.url("/jwks"))],
        "jwks.fresh_seconds": 3, "jwks.cool_down_seconds": 1,
    });
    let stack = start(vars).await;
    let (by_old, by_new) = (token(&old, "old"), token(&new, "new"));
    assert_eq!(verdict(&stack, &by_old).await, "200");
    assert_eq!(verdict(&stack, &by_new).await, "401 key_unknown");
    provider.behave(answer(200, &set(&[(&old, "old"), (&new, "new")])));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(verdict(&stack, &by_new).await, "200", "fetched when its kid was met");
    assert_eq!(verdict(&stack, &by_old).await, "200");

    // A withdrawn key is gone when the set is renewed, even for a cached token.
    provider.behave(answer(200, &set(&[(&new, "new")])));
    let withdrawn = Instant::now();
    while verdict(&stack, &by_old).await == "200" {
        assert!(withdrawn.elapsed() < Duration::from_secs(6), "a withdrawn key is still trusted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(verdict(&stack, &by_old).await, "401 key_unknown");
    assert_eq!(verdict(&stack, &by_new).await, "200");
    stop(stack).await;
}

#[tokio::test]
async fn concurrent_requests_share_one_key_fetch() {
    let issuer = Issuer::new();
    let slow = |body: String| Behaviour::Answer { status: 200, body, after_ms: 300 };
    let provider = Provider::start(slow(set(&[(&issuer, "a")])));
    let vars = json!({ "issuers": [issuer_at(&provider.url("/jwks"))] });
    let stack = start(vars).await;
    let burst = async |tokens: Vec<String>| {
        let url = stack.edge("/api/x");
        let calls: Vec<_> = tokens
            .into_iter()
            .map(|token| tokio::spawn(get(&url).bearer_auth(token).send()))
            .collect();
        let mut statuses = Vec::new();
        for call in calls {
            statuses.push(call.await.unwrap().unwrap().status().as_u16());
        }
        statuses
    };
    // A new isolate has no keys yet.
    let cold = burst((0..50).map(|_| token(&issuer, "a")).collect()).await;
    assert!(cold.iter().all(|status| *status == 200), "{cold:?}");
    assert_eq!(provider.take().len(), 1);

    // With a new key, all requests wait for one fetch, and all pass.
    let next = Issuer::new();
    provider.behave(slow(set(&[(&issuer, "a"), (&next, "b")])));
    let rotated = burst((0..50).map(|_| token(&next, "b")).collect()).await;
    assert!(rotated.iter().all(|status| *status == 200), "{rotated:?}");
    assert_eq!(provider.take().len(), 1);

    // Each unknown name causes one fetch, and all of them at most four within the cool-down.
    let forged = burst((0..50).map(|_| token(&next, "none")).collect()).await;
    assert!(forged.iter().all(|status| *status == 401), "{forged:?}");
    assert_eq!(provider.take().len(), 1);
    for name in 0..100 {
        // No more names are searched for, and any of them may belong to a new key.
        let expect = if name < 3 { "401 key_unknown" } else { "503 keys_unavailable" };
        assert_eq!(verdict(&stack, &token(&next, &format!("none{name}"))).await, expect);
    }
    assert_eq!(provider.take().len(), 3);
    assert_eq!(verdict(&stack, &token(&next, "none")).await, "401 key_unknown");
    assert_eq!(verdict(&stack, &token(&next, "b")).await, "200");
    stop(stack).await;
}

/// The set has two keys of one name and algorithm, so that no token of that name can be verified.
#[tokio::test]
async fn ambiguous_key_is_searched_for_once() {
    let (one, other, good) = (Issuer::new(), Issuer::new(), Issuer::new());
    let provider = Provider::serving(&set(&[(&one, "twice"), (&other, "twice"), (&good, "a")]));
    let vars = json!({
        "issuers": [issuer_at(&provider.url("/jwks"))], "jwks.cool_down_seconds": 60,
    });
    let stack = start(vars).await;
    assert_eq!(verdict(&stack, &token(&good, "a")).await, "200");
    assert_eq!(provider.take().len(), 1);
    for _ in 0..20 {
        assert_eq!(verdict(&stack, &token(&one, "twice")).await, "401 key_unknown");
    }
    assert_eq!(provider.take().len(), 1);
    stop(stack).await;
}

/// An isolate that was idle has an old key set. Two simultaneous requests both renew it first,
/// because its issuer can be queried.
#[tokio::test]
async fn withdrawn_key_is_rejected_by_concurrent_requests_of_an_idle_isolate() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let provider = Provider::serving(&set(&[(&old, "old")]));
    let vars = json!({
        "issuers": [issuer_at(&provider.url("/jwks"))],
        "jwks.fresh_seconds": 1, "jwks.cool_down_seconds": 1,
    });
    let stack = start(vars).await;
    let slow = |keys: &[(&Issuer, &str)]| Behaviour::Answer {
        status: 200,
        body: set(keys),
        after_ms: 1000,
    };
    let known = token(&old, "old");
    assert_eq!(verdict(&stack, &known).await, "200");
    provider.behave(slow(&[(&new, "new")]));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let other = token(&old, "old");
    let verdicts = tokio::join!(verdict(&stack, &known), verdict(&stack, &other));
    assert_eq!(verdicts, ("401 key_unknown".to_owned(), "401 key_unknown".to_owned()));

    // The same must hold if a failure of the issuer is long past.
    provider.behave(Behaviour::Hangs);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let known = token(&new, "new");
    assert_eq!(verdict(&stack, &known).await, "200", "a stale key, because the fetch failed");
    provider.behave(slow(&[(&old, "old")]));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let other = token(&new, "new");
    let verdicts = tokio::join!(verdict(&stack, &known), verdict(&stack, &other));
    assert_eq!(verdicts, ("401 key_unknown".to_owned(), "401 key_unknown".to_owned()));
    stop(stack).await;
}

/// After four forged `kid`s, no more are searched for. Then a new key's tokens must not be called
/// invalid, because clients log out on 401.
#[tokio::test]
async fn new_key_is_unavailable_and_not_unknown_after_a_flood_of_forged_ones() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let provider = Provider::serving(&set(&[(&old, "old")]));
    let vars = json!({
        "issuers": [issuer_at(&provider.url("/jwks"))], "jwks.cool_down_seconds": 3,
    });
    let stack = start(vars).await;
    let begun = Instant::now();
    for number in 0..4 {
        let forged = token(&new, &format!("forged-{number}"));
        assert_eq!(verdict(&stack, &forged).await, "401 key_unknown");
    }
    provider.behave(answer(200, &set(&[(&old, "old"), (&new, "new")])));
    let response = get_with(&stack.edge("/api/x"), &token(&new, "new")).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "too slow to tell");
    assert_eq!(field(&response, "retry-after"), "1");
    assert_refused(response, 503, "keys_unavailable").await;
    assert_eq!(verdict(&stack, &token(&old, "old")).await, "200");
    while verdict(&stack, &token(&new, "new")).await != "200" {
        assert!(begun.elapsed() < Duration::from_secs(8), "the new key is never searched for");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop(stack).await;
}

#[tokio::test]
async fn key_set_is_renewed_early_without_delaying_requests() {
    let issuer = Issuer::new();
    let provider = Provider::serving(&set(&[(&issuer, "a")]));
    let vars = json!({
        "issuers": [issuer_at(&provider.url("/jwks"))],
        "jwks.fresh_seconds": 10, "jwks.cool_down_seconds": 1,
    });
    let stack = start(vars).await;
    let token = token(&issuer, "a");
    assert_eq!(verdict(&stack, &token).await, "200");
    let body = set(&[(&issuer, "a")]);
    // The keys are stale during the last two seconds.
    provider.behave(Behaviour::Answer { status: 200, body, after_ms: 1000 });
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    provider.take();
    while begun.elapsed() < Duration::from_secs(13) {
        let call = Instant::now();
        assert_eq!(verdict(&stack, &token).await, "200");
        slowest = slowest.max(call.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let fetches = provider.take().len();
    assert_eq!(fetches, 1, "fetches in 13 s");
    assert!(slowest < Duration::from_millis(900), "a call waited for the issuer: {slowest:?}");
    stop(stack).await;
}

#[tokio::test]
async fn stale_keys_are_used_for_a_bounded_time_without_the_issuer() {
    let issuer = Issuer::new();
    let provider = Provider::serving(&set(&[(&issuer, "a")]));
    let vars = json!({
        "issuers": [issuer_at(&provider.url("/jwks"))],
        "jwks.fresh_seconds": 1, "jwks.stale_seconds_max": 30, "jwks.cool_down_seconds": 1,
        "breaker.open_ms_max": 1000,
        "jwks.timeout_ms": 400,
    });
    let stack = start(vars).await;
    let token = token(&issuer, "a");
    assert_eq!(verdict(&stack, &token).await, "200");
    let fetched = Instant::now();
    for behaviour in [
        Behaviour::Stalls,
        Behaviour::Hangs,
        answer(500, "{}"),
        answer(302, &set(&[(&issuer, "a")])),
        answer(200, "<html>"),
        answer(200, r#"{"keys":[]}"#),
        Behaviour::Cut { announced: 100_000, body: set(&[(&issuer, "a")]) },
        Behaviour::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}".to_vec()),
        answer(200, &format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300_000))),
    ] {
        provider.behave(behaviour.clone());
        provider.take();
        let (begun, mut is_fetched) = (Instant::now(), false);
        // Until the set was fetched, and once more with what came.
        while !is_fetched {
            assert!(begun.elapsed() < Duration::from_secs(5), "{behaviour:?} was not fetched");
            is_fetched = !provider.take().is_empty();
            tokio::time::sleep(Duration::from_millis(if is_fetched { 500 } else { 100 })).await;
            let call = Instant::now();
            assert_eq!(verdict(&stack, &token).await, "200", "{behaviour:?}");
            assert!(call.elapsed() < Duration::from_secs(5), "{behaviour:?}");
        }
    }
    provider.behave(Behaviour::Hangs);
    while fetched.elapsed() < Duration::from_millis(30_500) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(verdict(&stack, &token).await, "503 keys_unavailable", "trusted for ever");
    provider.behave(answer(200, &set(&[(&issuer, "a")])));
    let back = Instant::now();
    while verdict(&stack, &token).await != "200" {
        assert!(back.elapsed() < Duration::from_secs(20), "the issuer is back and the edge is not");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop(stack).await;
}

/// In a new isolate, no malformed key set lets a token pass or delays a request.
#[tokio::test]
async fn malformed_key_sets_are_rejected() {
    let issuer = Issuer::new();
    let provider = Provider::start(Behaviour::Hangs);
    let vars = json!({
        "issuers": [issuer_at(&provider.url("/jwks"))],
        "jwks.timeout_ms": 1500, "jwks.cool_down_seconds": 1,
    });
    let stack = start(vars).await;
    let good = set(&[(&issuer, "a")]);
    let cut = &good[..good.len() - 2];
    let raw = |text: String| Behaviour::Raw(text.into_bytes());
    let jwk = issuer.jwk("a");
    let with = |name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        answer(200, &json!({ "keys": [jwk] }).to_string())
    };
    for behaviour in [
        Behaviour::Hangs,
        Behaviour::Stalls,
        answer(404, &good),
        answer(301, &good),
        answer(204, ""),
        answer(200, ""),
        answer(200, cut),
        answer(200, &format!("{good}{good}")),
        answer(200, &good.replace("\"keys\"", "\"keys\":[],\"keys\"")),
        Behaviour::Cut { announced: good.len() + 10, body: good.clone() },
        raw(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{good}", good.len() - 2)),
        raw(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n{good}")),
        raw(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{good}\r\n0\r\n\r\n"
        )),
        raw("\0\0\0\0".to_owned()),
        with("use", json!("enc")),
        with("key_ops", json!(["sign"])),
        with("alg", json!("HS256")),
        with("kty", json!("oct")),
        with("crv", json!("P-256")),
        with("x", json!("AAAA")),
    ] {
        provider.behave(behaviour.clone());
        // This waits for the pause after a failure.
        tokio::time::sleep(Duration::from_millis(1050)).await;
        let call = Instant::now();
        let verdict = verdict(&stack, &token(&issuer, "a")).await;
        assert_eq!(verdict, "503 keys_unavailable", "{behaviour:?}");
        assert!(call.elapsed() < Duration::from_secs(10), "{behaviour:?}: {:?}", call.elapsed());
    }
    provider.behave(answer(200, &good));
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(verdict(&stack, &token(&issuer, "a")).await, "200");
    let log = stack.log("edge");
    assert!(
        log.contains("key_set") && log.contains("key 0 is ignored: its use or key_ops"),
        "{log}"
    );
    stop(stack).await;
}

/// A client that disconnects before its response does not abort the key fetch for others.
#[tokio::test]
async fn client_disconnect_does_not_abort_the_key_fetch() {
    let issuer = Issuer::new();
    let body = set(&[(&issuer, "a")]);
    let provider = Provider::start(Behaviour::Answer { status: 200, body, after_ms: 500 });
    let vars = json!({ "issuers": [issuer_at(&provider.url("/jwks"))] });
    let stack = start(vars).await;
    let (url, first) = (stack.edge("/api/x"), token(&issuer, "a"));
    let left = client_builder().timeout(Duration::from_millis(100)).build();
    assert!(left.unwrap().get(&url).bearer_auth(&first).send().await.is_err());
    let begun = Instant::now();
    assert_eq!(verdict(&stack, &token(&issuer, "a")).await, "200");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(provider.take().len(), 1);

    // A kid that could not be fetched is not called unknown.
    provider.behave(Behaviour::Hangs);
    let next = Issuer::new();
    assert_eq!(verdict(&stack, &token(&next, "b")).await, "503 keys_unavailable");
    assert_eq!(verdict(&stack, &token(&issuer, "a")).await, "200");
    stop(stack).await;
}

#[tokio::test]
async fn key_set_is_discovered_by_metadata() {
    let issuer = Issuer::new();
    let keys = Provider::serving(&set(&[(&issuer, "a")]));
    let document =
        |issuer: &str| json!({ "issuer": issuer, "jwks_uri": keys.url("/k") }).to_string();
    let metadata = Provider::serving(&document("https://other.example"));
    let vars = json!({ "issuers": [{
        "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"],
        "metadata_url": metadata.url("/.well-known/openid-configuration"),
    }]});
    let stack = start(vars).await;
    assert_eq!(verdict(&stack, &token(&issuer, "a")).await, "503 keys_unavailable");
    assert!(keys.take().is_empty(), "another issuer's document was followed");
    metadata.behave(answer(200, &document(ISSUER)));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(verdict(&stack, &token(&issuer, "a")).await, "200");
    assert!(keys.take().first().is_some_and(|request| request.starts_with("GET /k ")));
    stop(stack).await;
}

/// A new isolate reads the keys that another one fetched from the platform's cache.
#[tokio::test]
async fn new_isolate_uses_the_cached_key_set() {
    let issuer = Issuer::new();
    let provider = Provider::serving(&set(&[(&issuer, "a")]));
    let vars = json!({
        "issuers": [issuer_at(&provider.url("/jwks"))],
        "routes": [{ "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" }],
        "store.timeout_ms": 3000,
        "store.url": SHARED.fact("store_url"),
        "STORE_TOKEN": SHARED.fact("edge_store_token"),
        "upstream.url": SHARED.fact("upstream_url"),
    });
    // On this machine, only wrangler has that cache.
    let start = move || Stack::start(&["--only", "edge", "--engine", "wrangler"], Some(vars));
    let stack = tokio::task::spawn_blocking(start).await.unwrap();
    let token = token(&issuer, "a");
    assert_eq!(verdict(&stack, &token).await, "200");
    assert_eq!(provider.take().len(), 1);
    provider.behave(Behaviour::Hangs);

    // wrangler starts a new isolate when its policy changes.
    stack.change_policy(|policy| policy["logging"]["requests"] = "refused".into());
    let lines = || stack.log("edge").matches("\"outcome\":\"forwarded\"").count();
    let begun = Instant::now();
    loop {
        let before = lines();
        assert_eq!(verdict(&stack, &token).await, "200");
        tokio::time::sleep(Duration::from_millis(200)).await;
        if lines() == before {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "wrangler does not begin anew");
    }
    assert_eq!(verdict(&stack, &token).await, "200");
    assert!(provider.take().is_empty(), "the issuer was queried");
    stop(stack).await;
}
