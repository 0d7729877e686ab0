//! Circuit breakers, and what operators see of them.

use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, client, field, get, get_with, post};
use crate::support::issuer::{TRUSTED, claims, header, issuer_at, serve};
use crate::support::provider::{Behaviour, Provider, answer};
use crate::support::stack::{SHARED, Stack, stop};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

async fn start(vars: Value) -> Stack {
    let mut all = json!({
        "issuers": [issuer_at(&serve(TRUSTED.jwks()))],
        "routes": [
            { "name": "public", "path": "/public/*", "access": "public" },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
        ],
    });
    all.as_object_mut().unwrap().extend(vars.as_object().unwrap().clone());
    start_edge(all).await
}

#[tokio::test]
async fn breaker_opens_then_admits_one_probe() {
    let upstream = Provider::start(Behaviour::Hangs);
    let stack = start(json!({
        "upstream.url": upstream.url(""), "breaker.failures": 4, "breaker.open_ms_max": 1500,
        "upstream.timeout_ms": 1000,
    }))
    .await;
    let url = stack.edge("/public/x");
    // A GET is retried; a POST is not, and does not count for the breaker.
    for _ in 0..6 {
        let post = client().post(&url).body("x").send().await.unwrap();
        assert_refused(post, 502, "upstream_unreachable").await;
        assert_eq!(upstream.take().len(), 1);
    }
    for _ in 0..4 {
        assert_refused(get(&url).send().await.unwrap(), 502, "upstream_unreachable").await;
        assert_eq!(upstream.take().len(), 2);
    }
    // The breaker is open: requests are rejected at once until the pause ends, except for probes.
    let begun = Instant::now();
    let (mut rejected, mut slowest) = (0, Duration::ZERO);
    while begun.elapsed() < Duration::from_millis(1200) {
        let called = Instant::now();
        let response = get(&url).send().await.unwrap();
        assert!(!field(&response, "retry-after").is_empty());
        assert_refused(response, 502, "upstream_unreachable").await;
        slowest = slowest.max(called.elapsed());
        rejected += 1;
    }
    // Each probe is a request and its retry.
    let probes = upstream.take().len() / 2;
    assert!((1..=4).contains(&probes), "{probes} probes");
    println!(
        "open: {rejected} answered without the upstream, {probes} probes, slowest {slowest:?}"
    );

    // There is one probe at a time: of many concurrent requests, one waits for a response that
    // never arrives.
    upstream.behave(Behaviour::Stalls);
    tokio::time::sleep(Duration::from_millis(1600)).await;
    let client = client();
    let calls: Vec<_> = (0..20).map(|_| tokio::spawn(client.get(&url).send())).collect();
    let mut timeouts = 0;
    for call in calls {
        timeouts += usize::from(call.await.unwrap().unwrap().status() == 504);
    }
    assert_eq!((timeouts, upstream.take().len()), (1, 1));

    upstream.behave(answer(200, "{}"));
    let begun = Instant::now();
    while client.get(&url).send().await.unwrap().status() != 200 {
        assert!(begun.elapsed() < Duration::from_secs(15), "it is not tried again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..10 {
        assert_eq!(client.get(&url).send().await.unwrap().status(), 200);
    }
    let log = stack.log("edge");
    let changes = |state: &str| {
        let lines = log.lines().filter(|line| line.contains("\"event\":\"breaker\""));
        lines.filter(|line| line.contains(&format!("\"state\":\"{state}\""))).count()
    };
    assert!(changes("open") >= 2 && changes("closed") == 1, "{log}");
    assert!(log.contains("\"cause\":\"upstream_unreachable\""));
    assert!(log.contains("\"breakers\":{\"upstream of public\":\"open\"}"));
    stop(stack).await;
}

/// What clients do to their own requests does not count for a breaker.
#[tokio::test]
async fn aborted_request_bodies_do_not_open_a_breaker() {
    let stalls = Provider::start(Behaviour::Stalls);
    let stack = start(json!({
        "breaker.failures": 2, "auth.timeout_ms": 1000, "upstream.timeout_ms": 400,
        "routes": [
            { "name": "auth", "path": "/auth/*", "access": "auth" },
            { "name": "slow", "path": "/public/slow", "access": "public",
              "timeout_ms": 1500, "upstream": stalls.url("") },
            { "name": "public", "path": "/public/*", "access": "public" },
        ],
    }))
    .await;
    let address = stack.fact("edge_url").strip_prefix("http://").unwrap().to_owned();
    let send = |path: &str, framing: &str, rest: &str| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{framing}\r\n\r\n{rest}");
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 16];
        let read = stream.read(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..read]).into_owned()
    };
    let json = "Content-Type: application/json\r\nContent-Length: 100";
    let chunked = "Content-Type: application/json\r\nTransfer-Encoding: chunked";
    for path in ["/auth/login", "/public/x"] {
        for _ in 0..4 {
            // A body that stalls until the timeout, one that is aborted, and an invalid chunk.
            let answer = send(path, json, "{");
            assert!(path != "/auth/login" || answer.starts_with("HTTP/1.1 408"), "{answer}");
            drop(std::net::TcpStream::connect(&address).map(|mut stream| {
                use std::io::Write as _;
                let head = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{json}\r\n\r\n{{");
                stream.write_all(head.as_bytes())
            }));
            send(path, chunked, "zz\r\n");
            let large = send(path, "Content-Length: 99999999", "");
            assert!(path != "/auth/login" || large.starts_with("HTTP/1.1 413"), "{large}");
        }
    }
    // The auth service responds.
    let body = json!({ "refresh_token": "made-up" });
    let refresh = post(&stack.edge("/auth/refresh"), body).await;
    assert_refused(refresh, 401, "refresh_token_invalid").await;
    assert_eq!(get(&stack.edge("/public/x")).send().await.unwrap().status(), 200);
    // A slow route opens only its own breaker.
    for number in 0..4 {
        let begun = Instant::now();
        let slow = get(&stack.edge("/public/slow")).send().await.unwrap();
        assert_refused(slow, 504, "upstream_timeout").await;
        let waited = begun.elapsed();
        assert!(
            number >= 2 || waited >= Duration::from_millis(1400),
            "not its own deadline: {waited:?}"
        );
    }
    assert_eq!(get(&stack.edge("/public/x")).send().await.unwrap().status(), 200);
    let log = stack.log("edge");
    let opened = log.lines().filter(|line| line.contains("\"event\":\"breaker\""));
    assert!(opened.clone().all(|line| line.contains("upstream of slow")), "{log}");
    assert!(opened.count() >= 1, "{log}");
    stop(stack).await;
}

/// A provider that rejects unknown tokens is healthy.
#[tokio::test]
async fn unknown_tokens_do_not_open_the_providers_breaker() {
    let provider = Provider::start(answer(400, "{}"));
    let stack = start(json!({
        "breaker.failures": 2, "PROVIDER_SECRET": "s",
        "issuers": [{
            "issuer": "https://opaque.example", "audience": "https://api.example",
            "introspection": {
                "url": provider.url("/i"), "client_id": "e", "client_secret_variable": "PROVIDER_SECRET",
            },
        }],
    }))
    .await;
    let url = stack.edge("/api/x");
    for number in 0..6 {
        let response = get_with(&url, &format!("made-up-{number}")).await;
        assert_refused(response, 503, "introspection_bad_response").await;
    }
    provider.behave(answer(200, r#"{"active":true,"sub":"alice"}"#));
    assert_eq!(get_with(&url, "genuine").await.status(), 200);
    stop(stack).await;
}

/// Changes the configuration of a running wrangler, which then starts a new isolate.
async fn renew(stack: &Stack, probe: &str, change: impl FnOnce(&mut Value)) {
    let folder: PathBuf = stack.fact("logs").into();
    let file = folder.parent().unwrap().join("edge/wrangler.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(&file, config.to_string()).unwrap();
    stack.change_policy(|policy| policy["logging"]["requests"] = "refused".into());
    let begun = Instant::now();
    loop {
        let lines = || stack.log("edge").matches("\"event\":\"request\"").count();
        let before = lines();
        let _ = get(&stack.edge(probe)).send().await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        if lines() == before {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "wrangler does not begin anew");
    }
}

async fn wrangler(vars: Value) -> Stack {
    let mut all = json!({
        "issuers": [issuer_at(&serve(TRUSTED.jwks()))], "store.timeout_ms": 3000,
        "store.url": SHARED.fact("store_url"), "STORE_TOKEN": SHARED.fact("edge_store_token"),
        "upstream.url": SHARED.fact("upstream_url"), "auth.url": SHARED.fact("auth_url"),
    });
    all.as_object_mut().unwrap().extend(vars.as_object().unwrap().clone());
    tokio::task::spawn_blocking(move || {
        Stack::start(&["--only", "edge", "--engine", "wrangler"], Some(all))
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn new_isolate_inherits_open_breakers() {
    let upstream = Provider::start(Behaviour::Hangs);
    let stack = wrangler(json!({
        "breaker.shared": true, "breaker.failures": 3, "breaker.open_ms_max": 300000,
        "routes": [
            { "name": "down", "path": "/public/down", "access": "public", "upstream": upstream.url("") },
            { "name": "public", "path": "/public/*", "access": "public" },
        ],
    }))
    .await;
    let url = stack.edge("/public/down");
    // This waits until the pause is longer than wrangler needs to restart.
    let begun = Instant::now();
    loop {
        let response = get(&url).send().await.unwrap();
        let wait: u64 = field(&response, "retry-after").parse().unwrap();
        assert_eq!(response.status(), 502);
        if wait >= 12 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    renew(&stack, "/public/x", |_| ()).await;
    upstream.take();
    for _ in 0..3 {
        assert_refused(get(&url).send().await.unwrap(), 502, "upstream_unreachable").await;
    }
    assert!(upstream.take().is_empty(), "the new isolate had to learn it by itself");
    stop(stack).await;
}

#[tokio::test]
async fn platform_limiter_counts_when_bound_and_the_store_is_down() {
    let limit = json!({ "quota": 50, "window_seconds": 60, "by": "address" });
    let stack = wrangler(json!({
        "store.url": "http://127.0.0.1:1",
        "routes": [
            { "name": "limited", "path": "/public/limited", "access": "public", "limit": limit },
            { "name": "public", "path": "/public/*", "access": "public" },
        ],
    }))
    .await;
    renew(&stack, "/public/x", |config| {
        config["ratelimits"] = json!([
            { "name": "LOCAL_LIMITER", "namespace_id": "1001", "simple": { "limit": 3, "period": 60 } }
        ]);
        config["analytics_engine_datasets"] = json!([{ "binding": "ANALYTICS" }]);
    })
    .await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(get(&stack.edge("/public/limited")).send().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429, 429]);
    stop(stack).await;
}

#[tokio::test]
async fn metrics_and_timing_show_the_verdict_source() {
    let stack = start(json!({
        "logging.server_timing": true, "metrics.interval_seconds": 1, "revocation.delay_seconds_max": 60,
        "store.key_prefix": "pc",
    }))
    .await;
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({})));
    let first = get_with(&stack.edge("/api/x"), &token).await;
    let timing = field(&first, "server-timing");
    assert!(timing.starts_with("cache;desc=store, store;dur="), "{timing}");
    let second = get_with(&stack.edge("/api/x"), &token).await;
    let timing = field(&second, "server-timing");
    assert!(timing.starts_with("cache;desc=isolate, store;dur=0, "), "{timing}");
    assert!(timing.contains("upstream;dur=") && timing.contains("total;dur="), "{timing}");
    let log = stack.log("edge");
    assert!(log.contains("\"kid\":\"k1\"") && log.contains("\"cache\":\"isolate\""), "{log}");
    assert!(!log.contains(&token[token.len() - 40..]));

    let route = "route=\"api\"";
    let metric = async |name: &str, label: &str| SHARED.metric("auth_url", name, label).await;
    let before = metric("portcullis_edge_requests_total", route).await;
    for number in 0..40 {
        get_with(&stack.edge("/api/x"), &token).await;
        if number % 10 == 9 {
            assert_refused(get(&stack.edge("/api/x")).send().await.unwrap(), 401, "token_missing")
                .await;
        }
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    get_with(&stack.edge("/api/x"), &token).await;
    let begun = Instant::now();
    // The metric may include edges of other tests.
    while metric("portcullis_edge_requests_total", route).await < before + 44 {
        assert!(begun.elapsed() < Duration::from_secs(5), "the batch never arrives");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let missing = "route=\"api\",outcome=\"refused\",code=\"token_missing\"";
    assert!(metric("portcullis_edge_requests_total", missing).await >= 4);
    assert!(metric("portcullis_edge_verdicts_total", "cache=\"isolate\"").await >= 40);
    let buckets =
        metric("portcullis_edge_request_milliseconds_bucket", "route=\"api\",le=\"+Inf\"").await;
    assert!(buckets >= 44, "{buckets}");
    assert_eq!(metric("portcullis_edge_request_milliseconds_count", route).await, buckets);
    stop(stack).await;
}
