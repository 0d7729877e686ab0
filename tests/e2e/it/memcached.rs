//! The other store of the trade, spoken to by edge and origin themselves: what it holds, what it counts, and what
//! happens when it forgets or is gone. `cargo xtask test` runs the tests of sessions, tokens and routes on it, too.

use crate::issuer::{AUDIENCE, TRUSTED, claims, edge, header, issuer_at, serve};
use crate::stack::{Stack, client, field, get, get_with, refused};
use portcullis_core::{Keys, TokenHash};
use serde_json::json;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// One command, and the first line of its answer.
pub fn say(address: &str, command: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(command.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

async fn start(vars: serde_json::Value) -> Stack {
    let options = ["--store", "memcached", "--engine", "workerd"];
    tokio::task::spawn_blocking(move || Stack::start(&options, Some(vars))).await.unwrap()
}

async fn stop(stack: Stack) {
    tokio::task::spawn_blocking(move || drop(stack)).await.unwrap();
}

fn address(stack: &Stack) -> &str {
    stack.fact("store_url").strip_prefix("memcached://").unwrap()
}

#[tokio::test]
async fn a_session_lives_and_ends_in_a_memcached() {
    let stack = start(json!({ "STORE_DEADLINE_MS": "3000" })).await;
    let session = stack.login().await;
    let url = stack.edge("/api/hello");
    assert_eq!(get_with(&url, &session.access).await.status(), 200);

    // Hashed key, sealed value, and a life that is the token's.
    let key = Keys::new("pc").token(&TokenHash::of(&session.access));
    let line = say(address(&stack), &format!("mg {key} t v\r\n"));
    let seconds = line.trim().rsplit_once(" t").unwrap().1.parse::<u64>().unwrap();
    assert!((1200..=1260).contains(&seconds), "{line}");
    let mut stream = TcpStream::connect(address(&stack)).unwrap();
    stream.write_all(format!("get {key}\r\n").as_bytes()).unwrap();
    let value = BufReader::new(stream).lines().nth(1).unwrap().unwrap();
    assert!(value.starts_with("v1.test.") && !value.contains(&session.access), "{value}");

    // A logout ends it with the next request, and so does one by the refresh token.
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&session.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    refused(get_with(&url, &session.access).await, 401, "token_revoked").await;
    stop(stack).await;
}

#[tokio::test]
async fn what_a_memcached_forgets_is_asked_for_once() {
    let stack = start(json!({ "STORE_DEADLINE_MS": "3000" })).await;
    let (session, ended) = (stack.login().await, stack.login().await);
    let url = stack.edge("/api/hello");
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&ended.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    assert_eq!(say(address(&stack), "flush_all\r\n"), "OK\r\n");
    let queries = async || {
        stack.metric("origin_url", "portcullis_origin_database_queries_total", "request").await
    };
    let before = queries().await;
    for _ in 0..10 {
        assert_eq!(get_with(&url, &session.access).await.status(), 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(queries().await - before, 1, "it is written anew");
    refused(get_with(&url, &ended.access).await, 401, "token_inactive").await;
    stop(stack).await;
}

#[tokio::test]
async fn a_fixed_window_holds_in_a_memcached() {
    const QUOTA: usize = 20;
    let limit = json!({
        "quota": QUOTA, "window_seconds": 600, "by": "address", "algorithm": "fixed_window",
        "headers": true,
    });
    let whole = start(json!({})).await;
    let vars = || {
        json!({
            "STORE_URL": whole.fact("store_url"), "STORE_DEADLINE_MS": "3000",
            "ISSUERS": [issuer_at(&serve(TRUSTED.jwks()))],
            "ROUTES": [{ "name": "window", "path": "/public/*", "access": "public", "limit": limit }],
        })
    };
    let (one, other) = (vars(), vars());
    let isolates = tokio::task::spawn_blocking(move || [edge(one), edge(other)]).await.unwrap();
    let client = client();
    let calls: Vec<_> = (0..64)
        .map(|number| {
            let url = isolates[number % 2].edge("/public/x");
            tokio::spawn(client.get(url).header("cf-connecting-ip", "192.0.2.1").send())
        })
        .collect();
    let (mut admitted, mut told) = (0, false);
    for call in calls {
        let response = call.await.unwrap().unwrap();
        admitted += usize::from(response.status() == 200);
        told |= field(&response, "ratelimit").contains(";r=19;");
        if response.status() == 429 {
            let wait: u64 = field(&response, "retry-after").parse().unwrap();
            assert!((500..=660).contains(&wait), "{wait}");
        }
    }
    assert_eq!(admitted, QUOTA);
    assert!(told, "what is left is told");
    tokio::task::spawn_blocking(move || drop((isolates, whole))).await.unwrap();
}

#[tokio::test]
async fn a_memcached_that_is_gone_is_named() {
    let stack = start(json!({})).await;
    let session = stack.login().await;
    let url = stack.edge("/api/hello");
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    stack.signal("memcached", "-STOP");
    let begun = Instant::now();
    refused(get_with(&url, &session.access).await, 503, "store_timeout").await;
    assert!(begun.elapsed() < Duration::from_millis(1250), "{:?}", begun.elapsed());
    stack.signal("memcached", "-CONT");
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    stack.signal("memcached", "-KILL");
    refused(get_with(&url, &session.access).await, 503, "store_unreachable").await;
    assert_eq!(get(&stack.edge("/public/x")).send().await.unwrap().status(), 200);
    // A logout is kept until the store can be told, and a login still gives its tokens.
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&session.access);
    assert_eq!(logout.send().await.unwrap().status(), 202);
    assert!(!stack.login().await.access.is_empty());
    stop(stack).await;
}

#[tokio::test]
async fn what_needs_a_script_is_refused_at_the_start_by_name() {
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({})));
    let start = || {
        edge(json!({
            "STORE_URL": "memcached://127.0.0.1:1", "METRICS_SECONDS": "5",
            "ISSUERS": [{
                "issuer": "https://a.example", "audience": AUDIENCE, "algorithms": ["EdDSA"],
                "jwks_url": "http://127.0.0.1:1/", "sessions_in_store": true,
            }],
            "LIMITS": [{ "name": "s", "quota": 1, "window_seconds": 1, "by": "address", "algorithm": "sliding_window" }],
            "ROUTES": [{
                "name": "api", "path": "/api/*", "access": "protected", "limits": ["s"],
                "limit": { "quota": 1, "window_seconds": 1, "by": "address" },
            }],
        }))
    };
    let stack = tokio::task::spawn_blocking(start).await.unwrap();
    refused(get_with(&stack.edge("/api/x"), &token).await, 503, "configuration_faulty").await;
    let log = stack.log("edge");
    for name in [
        "LIMITS[0].algorithm",
        "ROUTES[0].limit.algorithm",
        "ISSUERS[0].sessions_in_store",
        "METRICS_SECONDS",
    ] {
        assert!(log.contains(&format!("{name}: a memcached has no scripts")), "{name}: {log}");
    }
    stop(stack).await;
}
