//! Measures how long a revoked token is still accepted, in several isolates, against the one
//! setting that bounds every cached verdict.

use super::limits::scene::{store, trips, unique};
use crate::support::edge::start_edge;
use crate::support::environment::on_memcached;
use crate::support::gateway::TOKEN;
use crate::support::http::{client, field, get_with, post};
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header, issuer_at, now};
use crate::support::provider::Provider;
use crate::support::proxy::{Fault, Proxy};
use crate::support::stack::{RECORD_ENCRYPTION_KEY, SHARED, Stack, stop};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{Seal, StoreKeys, TokenHash, TokenRecord};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn start(revocation_seconds_max: u32) -> Stack {
    // A memcached has no leases, and another test of this file counts there.
    let algorithm = if on_memcached() { "fixed_window" } else { "gcra" };
    let leased = json!({
        "name": "leased", "path": "/api/leased", "access": "protected",
        "limit": { "quota": 6000, "window_seconds": 60, "by": "subject", "algorithm": algorithm },
    });
    let vars = json!({
        "revocation.delay_seconds_max": revocation_seconds_max,
        "issuers": [{
            "issuer": SHARED.fact("edge_url"), "audience": AUDIENCE, "algorithms": ["EdDSA"],
            "jwks_url": format!("{}/.well-known/jwks.json", SHARED.fact("auth_url")),
        }],
        "routes": [
            { "name": "limited", "path": "/api/limited", "access": "protected",
              "limit": { "quota": 100_000, "window_seconds": 1, "by": "subject", "algorithm": "fixed_window" } },
            leased,
            { "name": "not-revoked", "path": "/api/not-revoked", "access": "protected", "require": "not_revoked" },
            { "name": "api", "path": "/api/*", "access": "protected" },
        ],
    });
    start_edge(vars).await
}

/// Returns the time from the logout's response until the last isolate accepted the token for the
/// last time.
async fn delay(revocation_seconds_max: u32, path: &str) -> Duration {
    let mut isolates = Vec::new();
    for _ in 0..3 {
        isolates.push(start(revocation_seconds_max).await);
    }
    let session = SHARED.login().await;
    let urls: Vec<String> = isolates.iter().map(|isolate| isolate.edge(path)).collect();
    let client = client();
    let send = async |url: &str| {
        let response = client.get(url).bearer_auth(&session.access).send().await.unwrap();
        response.status().as_u16()
    };
    // The isolates' verdicts have different ages when the session ends.
    for url in &urls {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(send(url).await, 200);
    }
    let body = json!({ "refresh_token": session.refresh });
    assert_eq!(post(&SHARED.edge("/auth/logout"), body).await.status(), 204);
    let (revoked, mut last_accepted) = (Instant::now(), Duration::ZERO);
    while revoked.elapsed() < Duration::from_secs(u64::from(revocation_seconds_max) + 2) {
        for url in &urls {
            let sent = revoked.elapsed();
            match send(url).await {
                200 => last_accepted = sent,
                status => assert_eq!(status, 401),
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop(isolates).await;
    last_accepted
}

#[tokio::test]
async fn revoked_token_is_rejected_at_once_when_the_delay_is_zero() {
    assert_eq!(delay(0, "/api/x").await, Duration::ZERO);
}

#[tokio::test]
async fn revoked_token_is_rejected_within_the_delay_in_every_isolate() {
    let took = delay(2, "/api/x").await;
    println!("a bound of 2 s, 3 isolates: last accepted after {took:?}");
    assert!(took <= Duration::from_secs(2), "{took:?}");
    assert!(took > Duration::ZERO, "nothing was kept: {took:?}");
}

#[tokio::test]
async fn revoked_token_is_rejected_at_once_on_an_exactly_limited_route() {
    assert_eq!(delay(2, "/api/limited").await, Duration::ZERO);
}

/// In four isolates, a token in use never waits for a distant store after its first request, and
/// is still rejected within the bound. A token that is not used costs the store nothing.
#[tokio::test]
async fn clearances_of_tokens_in_use_are_renewed_ahead_within_the_bound() {
    // The proxy supports only HTTP.
    if on_memcached() {
        return;
    }
    const BOUND: Duration = Duration::from_secs(2);
    let away = Duration::from_millis(200);
    let (provider, store) = (Provider::serving(&TRUSTED.jwks().to_string()), store().await);
    let far = Proxy::start(&store.1.url);
    let vars = json!({
        "issuers": [issuer_at(&provider.url("/jwks"))], "store.url": far.url(), "STORE_TOKEN": TOKEN,
        "revocation.delay_seconds_max": BOUND.as_secs(),
        "routes": [{ "name": "a", "path": "/api/*", "access": "protected", "require": "not_revoked" }],
    });
    let (a, b, c, d) = tokio::join!(
        start_edge(vars.clone()),
        start_edge(vars.clone()),
        start_edge(vars.clone()),
        start_edge(vars)
    );
    let isolates = [a, b, c, d];
    let sid = format!("renewed-{}-{}", std::process::id(), now());
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({ "sid": sid })));
    let urls = isolates.each_ref().map(|isolate| isolate.edge("/api/x"));
    for url in &urls {
        assert_eq!(get_with(url, &token).await.status(), 200);
    }
    far.set(Fault::Late { ms: 200 });
    // Several bounds long, every isolate answers without waiting for the store.
    let (begun, mut sent_count, mut waited) = (Instant::now(), 0, 0);
    while begun.elapsed() < 3 * BOUND {
        for url in &urls {
            let sent = Instant::now();
            assert_eq!(get_with(url, &token).await.status(), 200);
            sent_count += 1;
            waited += usize::from(sent.elapsed() >= away);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = trips(&store.1).await;
    // One question for a bound less its last quarter, in each isolate.
    assert!((8..=24).contains(&asked), "{asked} questions of four isolates in 6 s");
    // On a busy machine, the requests of one isolate may be further apart than a last quarter.
    assert!(waited <= sent_count / 50, "{waited} of {sent_count} requests waited for the store");

    let key = StoreKeys::new("pc").revoked_sid(ISSUER, &sid);
    let mut redis = store.0.connection();
    redis::cmd("SET").arg(&key).arg("1").exec(&mut redis).unwrap();
    let (revoked, mut last_accepted) = (Instant::now(), Duration::ZERO);
    while revoked.elapsed() < BOUND + Duration::from_secs(1) {
        for url in &urls {
            let sent = revoked.elapsed();
            match get_with(url, &token).await.status().as_u16() {
                200 => last_accepted = sent,
                status => assert_eq!(status, 401),
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "renewed ahead, a bound of {BOUND:?}, 4 isolates: last accepted after {last_accepted:?}"
    );
    assert!(last_accepted <= BOUND, "{last_accepted:?}");
    // Nothing asks about a token that is not used.
    let idle = TRUSTED.sign(&header(json!({})), &claims(json!({ "sid": format!("{sid}-idle") })));
    assert_eq!(get_with(&urls[0], &idle).await.status(), 200);
    let before = trips(&store.1).await;
    tokio::time::sleep(2 * BOUND).await;
    assert_eq!(trips(&store.1).await, before);
    stop((isolates, store)).await;
}

/// Records that are together larger than the largest response are in one renewal. Their tokens'
/// next requests wait for the store, and all pass.
#[tokio::test]
async fn renewal_of_large_records_costs_no_token_its_verdict() {
    if on_memcached() {
        return;
    }
    let (provider, store) = (Provider::serving(&TRUSTED.jwks().to_string()), store().await);
    let far = Proxy::start(&store.1.url);
    let isolate = start_edge(json!({
        "issuers": [issuer_at(&provider.url("/jwks"))], "store.url": far.url(), "STORE_TOKEN": TOKEN,
        "revocation.delay_seconds_max": 2, "breaker.failures": 1,
        "routes": [{ "name": "a", "path": "/api/*", "access": "protected" }],
    }))
    .await;
    // Each is within the largest response, and five are not.
    let (keys, seal) = (StoreKeys::new("pc"), Seal::new(RECORD_ENCRYPTION_KEY, None).unwrap());
    let padding = json!({ "padding": "x".repeat(12_000) });
    let mut redis = store.0.connection();
    let tokens = [0; 12].map(|_| {
        let token = TRUSTED.sign(&header(json!({})), &claims(json!({ "jti": unique("large") })));
        let record = TokenRecord {
            sub: "alice".to_owned(),
            sid: Some("s1".to_owned()),
            aud: Some(AUDIENCE.to_owned()),
            others: padding.as_object().unwrap().clone(),
            ..TokenRecord::default()
        };
        let key = keys.token(&TokenHash::of(&token));
        let record = record.encode(&key, Some(&seal), [7; 12]);
        redis::cmd("SET").arg(&key).arg(record).exec(&mut redis).unwrap();
        token
    });
    let url = isolate.edge("/api/x");
    let send_all = async || {
        let mut sent = Vec::new();
        for token in tokens.clone() {
            let url = url.clone();
            sent.push(tokio::spawn(async move {
                let response = get_with(&url, &token).await;
                assert_eq!(field(&response, "portcullis-degraded"), "");
                assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
            }));
        }
        for call in sent {
            call.await.unwrap();
        }
    };
    // All are cleared at once, and so are renewed at once. The store is so far away that most
    // wait for the next POST.
    send_all().await;
    far.set(Fault::Late { ms: 100 });
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        send_all().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let longest = far.longest_response();
    assert!(longest > 64 * 1024, "no renewal was too large: at most {longest} bytes");
    stop((isolate, store)).await;
}

#[tokio::test]
async fn revoked_token_is_rejected_within_the_delay_on_a_leased_route() {
    if on_memcached() {
        return;
    }
    let took = delay(2, "/api/leased").await;
    assert!(took <= Duration::from_secs(2), "{took:?}");
}

const TRIPS: &str = "portcullis_redis_gateway_requests_total";

#[tokio::test]
async fn cached_token_is_accepted_without_a_store_query() {
    // This test counts at the redis gateway.
    if on_memcached() {
        return;
    }
    // No other test changes the counters of this gateway.
    let whole = tokio::task::spawn_blocking(|| {
        Stack::start(
            &[],
            Some(json!({ "store.timeout_ms": 3000, "revocation.delay_seconds_max": 60,
            "routes": [
                { "name": "auth", "path": "/auth/*", "access": "auth" },
                { "name": "not-revoked", "path": "/api/not-revoked", "access": "protected", "require": "not_revoked" },
                { "name": "api", "path": "/api/*", "access": "protected" },
            ] })),
        )
    });
    let stack = whole.await.unwrap();
    let session = stack.login().await;
    let trips = async || stack.metric("store_url", TRIPS, "").await;
    // A forged token triggers the key fetch.
    let (input, _) = session.access.rsplit_once('.').unwrap();
    let forged = format!("{input}.{}", URL_SAFE_NO_PAD.encode([7; 64]));
    assert_eq!(get_with(&stack.edge("/api/x"), &forged).await.status(), 401);
    // The auth service checks the store periodically. It is stopped here, so that it does not
    // change the counts.
    stack.signal("auth", "-STOP");
    let before = trips().await;
    let (not_revoked, record) = (stack.edge("/api/not-revoked"), stack.edge("/api/x"));
    for _ in 0..50 {
        assert_eq!(get_with(&not_revoked, &session.access).await.status(), 200);
    }
    // One request is for the token, and one, after the response, for the session's last use.
    let begun = Instant::now();
    while trips().await - before < 2 && begun.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(trips().await - before, 2);
    // A cached verdict of `not_revoked` does not satisfy `record`, but the reverse does.
    for url in [&record, &record, &not_revoked, &record] {
        assert_eq!(get_with(url, &session.access).await.status(), 200);
    }
    assert_eq!(trips().await - before, 3);
    stop(stack).await;
}

/// Writes each of the four markers as an operator would, for tokens of another issuer.
#[tokio::test]
async fn markers_revoke_by_id_session_subject_and_client() {
    let provider = Provider::serving(&TRUSTED.jwks().to_string());
    let vars = json!({ "issuers": [issuer_at(&provider.url("/jwks"))] });
    let stack = start_edge(vars).await;
    let name = |part: &str| format!("{part}-{}-{}", std::process::id(), now());
    let url = stack.edge("/api/x");
    for (claim, kind, spares_later) in [
        ("jti", "jti", false),
        ("sid", "sid", false),
        ("sub", "sub", true),
        ("client_id", "client", true),
        ("azp", "client", true),
    ] {
        let (value, at) = (name(claim), now());
        let mut changes = json!({ "iat": at - 10, "client_id": null });
        changes[claim] = value.clone().into();
        let token = TRUSTED.sign(&header(json!({})), &claims(changes.clone()));
        assert_eq!(get_with(&url, &token).await.status(), 200, "{claim}");
        // The key by docs/storage.md: the SHA-256 of issuer, line break and name, in base64url.
        let digest = aws_lc_rs::digest::digest(
            &aws_lc_rs::digest::SHA256,
            format!("{ISSUER}\n{value}").as_bytes(),
        );
        let key = format!("pc:revoked:{kind}:{}", URL_SAFE_NO_PAD.encode(digest.as_ref()));
        let set = async |moment: u64| SHARED.put(&key, &moment.to_string()).await;
        set(at - 11).await;
        let expect = if spares_later { "" } else { "token_revoked" };
        assert_eq!(code(&url, &token).await, expect, "{claim}, issued later");
        set(at - 5).await;
        assert_eq!(code(&url, &token).await, "token_revoked", "{claim}");
        changes["iat"] = at.into();
        let newer = TRUSTED.sign(&header(json!({})), &claims(changes));
        assert_eq!(code(&url, &newer).await, expect, "{claim}, a newer token");
    }
    stop(stack).await;
}

/// A token that an isolate knows to be revoked is not accepted again because of an older clearance,
/// nor while the store is down.
#[tokio::test]
async fn token_known_to_be_revoked_stays_rejected() {
    // The proxy supports only HTTP.
    if on_memcached() {
        return;
    }
    let provider = Provider::serving(&TRUSTED.jwks().to_string());
    let store = Proxy::start(SHARED.fact("store_url"));
    let route = |name: &str, more: Value| {
        let mut route = json!({
            "name": name, "path": format!("/api/{name}"), "access": "protected",
            "require": "not_revoked", "on_store_outage": "signature",
        });
        route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        route
    };
    let limit = json!({ "quota": 100_000, "window_seconds": 1, "by": "address" });
    let stack = start_edge(json!({
        "issuers": [issuer_at(&provider.url("/jwks"))], "store.url": store.url(),
        "revocation.delay_seconds_max": 30,
        "routes": [route("cached", json!({})), route("limited", json!({ "limit": limit }))],
    }))
    .await;
    let name = |part: &str| format!("{part}-{}-{}", std::process::id(), now());
    let keys = StoreKeys::new("pc");
    let (sid, sub) = (name("session"), name("subject"));
    let by_sid = TRUSTED.sign(&header(json!({})), &claims(json!({ "sid": sid })));
    let by_sub = TRUSTED.sign(&header(json!({})), &claims(json!({ "sub": sub })));
    let (cached, limited) = (stack.edge("/api/cached"), stack.edge("/api/limited"));
    for token in [&by_sid, &by_sub] {
        assert_eq!(get_with(&cached, token).await.status(), 200);
    }
    SHARED.put(&keys.revoked_sid(ISSUER, &sid), "1").await;
    SHARED.put(&keys.revoked_sub(ISSUER, &sub), &now().to_string()).await;
    for token in [&by_sid, &by_sub] {
        assert_eq!(code(&limited, token).await, "token_revoked", "on a limited route");
    }
    tokio::time::sleep(Duration::from_secs(6)).await;
    for token in [&by_sid, &by_sub] {
        assert_eq!(
            code(&cached, token).await,
            "token_revoked",
            "after 6 s, by a clearance of before"
        );
    }
    store.set(Fault::Hangs);
    tokio::time::sleep(Duration::from_secs(6)).await;
    for token in [&by_sid, &by_sub] {
        assert_eq!(code(&cached, token).await, "token_revoked", "without the store");
    }
    // An operator may delete the marker of a subject, but a session stays ended.
    store.set(Fault::None);
    SHARED.put(&keys.revoked_sub(ISSUER, &sub), "1").await;
    let begun = Instant::now();
    while code(&cached, &by_sub).await == "token_revoked" {
        assert!(begun.elapsed() < Duration::from_secs(12), "the marker was taken back");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(code(&cached, &by_sid).await, "token_revoked");
    stop(stack).await;
}

async fn code(url: &str, token: &str) -> String {
    let body: Value = get_with(url, token).await.json().await.unwrap();
    body["code"].as_str().unwrap_or_default().to_owned()
}
