//! Limits as clients and operators meet them: who is counted, what is told, what a flood costs, and what holds
//! while the store can't count.

use crate::issuer::{ISSUER, TRUSTED, claims, edge, header, issuer_at, serve};
use crate::provider::{Provider, answer};
use crate::servers::{Gateway, Redis, TOKEN};
use crate::stack::{Stack, client, field, refused};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Response;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn start(vars: Value) -> Stack {
    let mut all = json!({ "ISSUERS": [issuer_at(&serve(TRUSTED.jwks()))] });
    all.as_object_mut().unwrap().extend(vars.as_object().unwrap().clone());
    tokio::task::spawn_blocking(move || edge(all)).await.unwrap()
}

async fn stop<T: Send + 'static>(stack: T) {
    tokio::task::spawn_blocking(move || drop(stack)).await.unwrap();
}

fn token(changes: Value) -> String {
    TRUSTED.sign(&header(json!({})), &claims(changes))
}

/// One call from an address, with a token if one is given.
async fn call(stack: &Stack, path: &str, address: &str, token: Option<&str>) -> Response {
    let request = client().get(stack.edge(path)).header("cf-connecting-ip", address);
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.unwrap()
}

/// How many of `count` calls pass.
async fn passed(
    stack: &Stack,
    path: &str,
    address: &str,
    token: Option<&str>,
    count: usize,
) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        passed += usize::from(call(stack, path, address, token).await.status() == 200);
    }
    passed
}

fn open(name: &str, limit: Value) -> Value {
    json!({ "name": name, "path": format!("/public/{name}"), "access": "public", "limit": limit })
}

fn protected(name: &str, more: Value) -> Value {
    let mut route = json!({
        "name": name, "path": format!("/api/{name}"), "access": "protected", "require": "not_revoked",
    });
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    route
}

/// Names that no other test's limits have.
fn unique(name: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    format!("{name}-{}-{next}", std::process::id())
}

#[tokio::test]
async fn each_is_counted_by_what_the_limit_says() {
    let limit = |by: Value| json!({ "limit": { "quota": 3, "window_seconds": 600, "by": by } });
    let names = ["a", "s", "c", "e", "h", "l", "sh", "pl", "co", "x1", "x2"].map(unique);
    let [a, s, c, e, h, l, sh, pl, co, x1, x2] = names.each_ref();
    let shared = unique("shared");
    let plans = json!({ "limit": { "quota": 1, "window_seconds": 600, "by": "subject",
        "plans": { "claim": "plan", "quotas": { "pro": 4, "7": 2 } } } });
    let stack = start(json!({
        "LIMITS": [{ "name": shared, "quota": 3, "window_seconds": 600, "by": "subject" }],
        "ADDRESSES": { "deny": ["198.51.100.0/24"], "unlimited": ["203.0.113.7"] },
        "ROUTES": [
            open(a, limit(json!("address"))["limit"].clone()),
            protected(s, limit(json!("subject"))), protected(c, limit(json!("client"))),
            protected(e, limit(json!("session"))), protected(h, limit(json!("header:X-Tenant"))),
            protected(l, limit(json!(["claim:level", "route"]))),
            protected(sh, limit(json!(["subject", "client"]))), protected(pl, plans),
            protected(co, json!({ "cost": 2, "limit": { "quota": 5, "window_seconds": 600, "by": "subject" } })),
            protected(x1, json!({ "limits": [shared] })), protected(x2, json!({ "limits": [shared] })),
        ],
    }))
    .await;
    let path = |name: &str| format!("/public/{name}");
    // Addresses: IPv6 by /64.
    assert_eq!(passed(&stack, &path(a), "192.0.2.1", None, 4).await, 3);
    assert_eq!(passed(&stack, &path(a), "192.0.2.2", None, 1).await, 1);
    assert_eq!(passed(&stack, &path(a), "2001:db8::1", None, 2).await, 2);
    assert_eq!(passed(&stack, &path(a), "2001:db8::ffff:2", None, 2).await, 1);
    assert_eq!(passed(&stack, &path(a), "2001:db8:0:1::1", None, 1).await, 1);
    assert_eq!(passed(&stack, &path(a), "203.0.113.7", None, 9).await, 9, "not limited");
    refused(call(&stack, &path(a), "198.51.100.9", None).await, 403, "address_refused").await;

    let path = |name: &str| format!("/api/{name}");
    let here = "192.0.2.9";
    let count = async |name: &str, changes: Value, calls: usize| {
        passed(&stack, &path(name), here, Some(&token(changes)), calls).await
    };
    for (name, member) in [(s, "sub"), (c, "client_id"), (e, "sid")] {
        assert_eq!(count(name, json!({ member: "one" }), 4).await, 3, "{member}");
        assert_eq!(count(name, json!({ member: "two" }), 1).await, 1, "{member}");
    }
    assert_eq!(count(l, json!({ "level": 1 }), 4).await, 3);
    assert_eq!(count(l, json!({ "level": 2 }), 1).await, 1);
    assert_eq!(count(sh, json!({ "sub": "one", "client_id": "x" }), 4).await, 3);
    assert_eq!(count(sh, json!({ "sub": "one", "client_id": "y" }), 1).await, 1);
    assert_eq!(count(pl, json!({ "sub": "free" }), 9).await, 1);
    assert_eq!(count(pl, json!({ "sub": "pro", "plan": "pro" }), 9).await, 4);
    assert_eq!(count(pl, json!({ "sub": "seven", "plan": 7 }), 9).await, 2);
    assert_eq!(count(co, json!({}), 9).await, 2, "five by two");
    // One limit over two routes.
    assert_eq!(count(x1, json!({}), 2).await + count(x2, json!({}), 9).await, 3);

    let tenant = async |tenant: &str| {
        let request = client().get(stack.edge(&path(h))).bearer_auth(token(json!({})));
        let request = request.header("cf-connecting-ip", here);
        request.header("x-tenant", tenant).send().await.unwrap().status().as_u16()
    };
    for expect in [200, 200, 200, 429] {
        assert_eq!(tenant("acme").await, expect);
    }
    assert_eq!(tenant("other").await, 200);
    stop(stack).await;
}

#[tokio::test]
async fn quotas_are_told_and_a_shadow_refuses_nothing() {
    let (told, shadow) = (unique("told"), unique("shadow"));
    let stack = start(json!({ "ROUTES": [
        open(&told, json!({ "quota": 3, "window_seconds": 600, "by": "address", "headers": true })),
        open(&shadow, json!({ "quota": 1, "window_seconds": 600, "by": "address", "shadow": true })),
    ]}))
    .await;
    let path = format!("/public/{told}");
    for left in [2, 1, 0] {
        let response = call(&stack, &path, "192.0.2.1", None).await;
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "ratelimit-policy"), format!("\"{told}\";q=3;w=600"));
        assert_eq!(field(&response, "ratelimit"), format!("\"{told}\";r={left};t=200"));
    }
    let response = call(&stack, &path, "192.0.2.1", None).await;
    let retry_after: u64 = field(&response, "retry-after").parse().unwrap();
    assert!((199..=220).contains(&retry_after), "{retry_after}");
    let rate = field(&response, "ratelimit");
    assert!(rate.starts_with(&format!("\"{told}\";r=0;t=")), "{rate}");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    assert_eq!(
        (&body["violated-policies"], &body["code"]),
        (&json!([told]), &json!("rate_limited"))
    );

    assert_eq!(passed(&stack, &format!("/public/{shadow}"), "192.0.2.1", None, 5).await, 5);
    let log = stack.log("edge");
    let watched = format!("\"shadow\":[\"{shadow}\"]");
    assert_eq!(log.matches(&watched).count(), 4, "{log}");
    assert!(log.contains(&format!("\"limits\":[\"{told}\"]")) && log.contains("\"limit_left\":2"));
    stop(stack).await;
}

/// A redis gateway and a Redis of the test's own, so that what is counted there is the test's.
async fn store() -> (Redis, Gateway) {
    let start = || {
        let redis = Redis::start(&[]);
        let gateway = Gateway::start(&redis.url(), &[]);
        (redis, gateway)
    };
    let (redis, gateway) = tokio::task::spawn_blocking(start).await.unwrap();
    gateway.ready().await;
    (redis, gateway)
}

async fn trips(gateway: &Gateway) -> u64 {
    let text = client().get(format!("{}/metrics", gateway.url)).send().await.unwrap();
    let text = text.text().await.unwrap();
    let lines = text.lines().filter(|line| line.starts_with("portcullis_gateway_requests_total"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test]
async fn a_flood_over_the_limit_costs_the_store_nothing() {
    let (redis, gateway) = store().await;
    let limit = json!({ "quota": 5, "window_seconds": 600, "by": "subject" });
    let more =
        |name: &str| json!({ "name": name, "quota": 1000, "window_seconds": 600, "by": "address" });
    let stack = start(json!({
        "STORE_URL": gateway.url, "STORE_TOKEN": TOKEN, "LIMITS": [more("m1"), more("m2")],
        "ROUTES": [protected("flood", json!({ "limit": limit, "limits": ["m1", "m2"] }))],
    }))
    .await;
    let token = token(json!({}));
    // The script is brought once, for all limits together; from then on, one trip has everything.
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
    assert_eq!(trips(&gateway).await, before, "the store was asked");
    stop((stack, redis, gateway)).await;
}

#[tokio::test]
async fn who_uses_a_revoked_token_uses_up_nobodys_quota() {
    let (redis, gateway) = store().await;
    let limit = json!({ "quota": 5, "window_seconds": 600, "by": "subject" });
    let stack = start(json!({
        "STORE_URL": gateway.url, "STORE_TOKEN": TOKEN,
        "ROUTES": [protected("victim", json!({ "limit": limit }))],
    }))
    .await;
    let keys = portcullis_core::StoreKeys::new("pc");
    let marker = keys.revoked_jti(ISSUER, "stolen");
    gateway.run(json!(["SET", marker, "1", "EX", "600"])).await;
    let (stolen, own) = (token(json!({ "jti": "stolen" })), token(json!({ "jti": "own" })));
    for _ in 0..50 {
        let response = call(&stack, "/api/victim", "192.0.2.6", Some(&stolen)).await;
        refused(response, 401, "token_revoked").await;
    }
    assert_eq!(passed(&stack, "/api/victim", "192.0.2.1", Some(&own), 5).await, 4, "one was lost");
    stop((stack, redis, gateway)).await;
}

#[tokio::test]
async fn a_guesser_is_stopped_and_who_is_known_to_be_good_is_not() {
    let stack = start(json!({
        "FAILURE_LIMIT": { "quota": 10, "window_seconds": 600 },
        "ADDRESSES": { "unlimited": ["203.0.113.7"] },
        "ROUTES": [protected("x", json!({}))],
    }))
    .await;
    let good = token(json!({}));
    // From the guesser's own address, and known: behind one NAT with him.
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
    // The good client goes on, from there and from elsewhere; an unknown token from there does not.
    assert_eq!(passed(&stack, "/api/x", "192.0.2.66", Some(&good), 30).await, 30);
    let other = token(json!({ "jti": "j2" }));
    refused(
        call(&stack, "/api/x", "192.0.2.66", Some(&other)).await,
        429,
        "too_many_invalid_tokens",
    )
    .await;
    assert_eq!(passed(&stack, "/api/x", "192.0.2.1", Some(&other), 30).await, 30);
    // Late and missing tokens are no guesses.
    let late = token(json!({ "exp": crate::issuer::now() - 600 }));
    for _ in 0..20 {
        refused(call(&stack, "/api/x", "192.0.2.2", Some(&late)).await, 401, "token_expired").await;
        refused(call(&stack, "/api/x", "192.0.2.2", None).await, 401, "token_missing").await;
    }
    for number in 0..20 {
        let response = call(&stack, "/api/x", "203.0.113.7", Some(&guess(number))).await;
        refused(response, 401, "signature_invalid").await;
    }
    stop(stack).await;
}

/// The overshoot of counting after the answer, with a store that is far away.
#[tokio::test]
async fn what_is_counted_late_lets_through_what_arrives_within_one_trip() {
    const QUOTA: usize = 20;
    // 15 calls within a trip, in any case; slower where it need not make a table.
    let (away_ms, apart_ms) = if crate::faults::is_short() { (600, 40) } else { (150, 10) };
    let (redis, gateway) = store().await;
    let far = crate::proxy::Proxy::start(&gateway.url);
    far.set(crate::proxy::Fault::Late { ms: away_ms });
    let late = json!({ "quota": QUOTA, "window_seconds": 600, "by": "subject", "timing": "after" });
    let stack = start(json!({
        "STORE_URL": far.url(), "STORE_TOKEN": TOKEN, "REVOCATION_SECONDS_MAX": "60",
        "ROUTES": [protected("late", json!({ "limit": late }))],
    }))
    .await;
    let token = token(json!({}));
    assert_eq!(passed(&stack, "/api/late", "192.0.2.1", Some(&token), 1).await, 1);
    tokio::time::sleep(Duration::from_millis(6 * away_ms)).await;
    // One call after the other: nobody waits for the store.
    let client = client();
    let (begun, mut calls) = (Instant::now(), Vec::new());
    for number in 0..100 {
        let at = begun + Duration::from_millis(number * apart_ms);
        tokio::time::sleep_until(at.into()).await;
        let request = client.get(stack.edge("/api/late")).bearer_auth(&token);
        calls.push(tokio::spawn(async move {
            let begun = Instant::now();
            let response = request.send().await.unwrap();
            (response.status().as_u16(), begun.elapsed())
        }));
    }
    let (mut admitted, mut took) = (1, Vec::new());
    for call in calls {
        let (status, elapsed) = call.await.unwrap();
        admitted += usize::from(status == 200);
        took.push(elapsed);
    }
    took.sort_unstable();
    let (median, slowest) = (took[50].as_millis(), took[99].as_millis());
    assert!(u64::try_from(median).unwrap() < away_ms / 2, "it waits for the store: {median} ms");
    let over = admitted - QUOTA;
    println!(
        "counted after the answer, the store {away_ms} ms away, a call each {apart_ms} ms: {over} over {QUOTA}; slowest {slowest:?}"
    );
    // 15 arrive within a trip; as many again for a machine that is busy.
    assert!((1..=30).contains(&over), "{over}");
    assert!(call(&stack, "/api/late", "192.0.2.1", Some(&token)).await.status() == 429);
    stop((stack, redis, gateway)).await;
}

/// Without the store: deny, local, allow; and the same for tokens.
#[tokio::test]
async fn each_route_says_what_holds_without_the_store() {
    let limit = |outage: &str| json!({ "quota": 5, "window_seconds": 600, "by": "address", "outage": outage, "local_quota": 3 });
    let provider =
        Provider::start(answer(200, &json!({ "active": true, "sub": "alice" }).to_string()));
    let mut issuer = issuer_at(&serve(TRUSTED.jwks()));
    issuer["introspection"] = json!({
        "url": provider.url("/i"), "client_id": "e", "client_secret_variable": "PROVIDER_SECRET",
    });
    let route = |name: &str, outage: &str| protected(name, json!({ "on_store_outage": outage }));
    let stack = start(json!({
        "ISSUERS": [issuer], "PROVIDER_SECRET": "s", "INTROSPECTIONS_PER_SECOND_MAX": "20",
        "STORE_URL": "http://127.0.0.1:1",
        "ROUTES": [
            open("shut", limit("deny")), open("local", limit("local")), open("free", limit("allow")),
            route("deny", "deny"), route("introspect", "introspect"), route("signature", "signature"),
            protected("both", json!({ "on_store_outage": "signature", "limit": limit("local") })),
        ],
    }))
    .await;
    let here = "192.0.2.1";
    refused(call(&stack, "/public/shut", here, None).await, 503, "store_unreachable").await;
    assert_eq!(passed(&stack, "/public/free", here, None, 9).await, 9);
    assert_eq!(passed(&stack, "/public/local", here, None, 9).await, 3);
    let response = call(&stack, "/public/local", "192.0.2.2", None).await;
    assert_eq!(
        (response.status().as_u16(), &*field(&response, "portcullis-degraded")),
        (200, "limit=local")
    );

    let token = token(json!({}));
    let with = async |name: &str| call(&stack, &format!("/api/{name}"), here, Some(&token)).await;
    refused(with("deny").await, 503, "store_unreachable").await;
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

    // A dead store does not take the provider with it.
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
    let asked = provider.take().len();
    let seconds = begun.elapsed().as_secs() as usize + 2;
    assert!(good == asked && asked <= seconds * 20, "{asked} questions for {good} in {seconds} s");

    provider.behave(answer(200, r#"{"active":false}"#));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    refused(with("introspect").await, 401, "token_inactive").await;
    provider.behave(answer(200, r#"{"active":true,"sub":"mallory"}"#));
    tokio::time::sleep(Duration::from_millis(1100)).await;
    refused(with("introspect").await, 401, "token_not_registered").await;
    let log = stack.log("edge");
    assert!(
        log.contains("\"degraded\":\"token=signature\"")
            && log.contains("\"breakers\":{\"store\":")
    );
    stop(stack).await;
}

/// Two plans behind one address, and two costs of one limit.
#[tokio::test]
async fn who_is_over_one_quota_is_not_over_another() {
    let name = unique("nat");
    let plans = json!({ "limit": { "quota": 3, "window_seconds": 600, "by": "address",
        "plans": { "claim": "plan", "quotas": { "pro": 50 } } } });
    let stack = start(json!({ "ROUTES": [protected(&name, plans)] })).await;
    let path = format!("/api/{name}");
    let (free, pro) = (token(json!({ "sub": "f" })), token(json!({ "sub": "p", "plan": "pro" })));
    assert_eq!(passed(&stack, &path, "192.0.2.1", Some(&free), 5).await, 3);
    assert!(passed(&stack, &path, "192.0.2.1", Some(&pro), 5).await > 0, "another's refusal");
    stop(stack).await;
}

/// What an isolate counts by itself is one count for all costs, ends with the outage, and holds for limits that
/// are counted late, too.
#[tokio::test]
async fn what_is_counted_here_is_one_count_and_ends_with_the_outage() {
    let (redis, gateway) = store().await;
    let near = crate::proxy::Proxy::start(&gateway.url);
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
        "STORE_URL": near.url(), "STORE_TOKEN": TOKEN, "BREAKER_FAILURES": "1",
        "BREAKER_PAUSE_MS_MAX": "4000",
        "LIMITS": [
            limit("shared", json!({})),
            limit("late", json!({ "timing": "after", "local_quota": 3 })),
            limit("shut", json!({ "timing": "after", "on_store_outage": "deny" })),
            limit("watched", json!({ "on_store_outage": "deny", "shadow": true })),
        ],
        "ROUTES": [
            route("one", "shared", 1), route("two", "shared", 2), route("late", "late", 1),
            route("shut", "shut", 1), route("watched", "watched", 1),
        ],
    }))
    .await;
    let token = token(json!({}));
    let here = "192.0.2.1";
    assert_eq!(passed(&stack, "/api/one", here, Some(&token), 3).await, 3);
    near.set(crate::proxy::Fault::Refuses);
    let admitted = passed(&stack, "/api/one", here, Some(&token), 4).await
        + 2 * passed(&stack, "/api/two", here, Some(&token), 9).await;
    assert_eq!(admitted, 10, "one count for both");
    assert_eq!(passed(&stack, "/api/watched", here, Some(&token), 5).await, 5, "merely watched");
    // A probe may be due, and what is late then is counted in vain.
    let late = passed(&stack, "/api/late", here, Some(&token), 12).await;
    assert!((3..=5).contains(&late), "{late}");
    assert!(passed(&stack, "/api/shut", here, Some(&token), 12).await <= 2);
    near.set(crate::proxy::Fault::None);
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

/// A Redis that is full can't count, and can be read: tokens are judged as ever.
#[tokio::test]
async fn a_store_that_can_not_count_can_still_be_read() {
    let (redis, gateway) = store().await;
    let limit = json!({ "quota": 1000, "window_seconds": 600, "by": "address" });
    let stack = start(json!({
        "STORE_URL": gateway.url, "STORE_TOKEN": TOKEN, "BREAKER_FAILURES": "2",
        "ROUTES": [open("open", limit.clone()), protected("token", json!({ "limit": limit }))],
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
    refused(call(&stack, "/api/token", "192.0.2.1", Some(&gone)).await, 401, "token_revoked").await;
    stop((stack, redis, gateway)).await;
}
