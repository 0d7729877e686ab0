//! Memcached as the store: its entries and counts, and the effect of evictions and outages. `cargo
//! xtask test` also runs the tests of sessions, tokens and routes on it.

use crate::support::edge::launch_edge;
use crate::support::http::{assert_refused, client, field, get, get_with, post};
use crate::support::issuer::{AUDIENCE, TRUSTED, claims, header, issuer_at, serve};
use crate::support::memcached::request;
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::rate_limit::assert_rate_limit_fields;
use crate::support::stack::{RECORD_ENCRYPTION_KEY, SHARED, Stack, Tokens, stop};
use portcullis_core::{StoreKeys, TokenHash};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::json;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// Returns the claims of a token.
pub fn payload(token: &str) -> serde_json::Value {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    serde_json::from_slice(&engine.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

async fn start(vars: serde_json::Value) -> Stack {
    let options = ["--store", "memcached"];
    tokio::task::spawn_blocking(move || Stack::start(&options, Some(vars))).await.unwrap()
}

fn address(stack: &Stack) -> &str {
    stack.fact("store_url").strip_prefix("memcached://").unwrap()
}

#[tokio::test]
async fn session_is_stored_and_revoked_on_memcached() {
    let stack = start(json!({ "store.timeout_ms": 3000 })).await;
    let session = stack.login().await;
    let url = stack.edge("/api/hello");
    assert_eq!(get_with(&url, &session.access).await.status(), 200);

    // The key is hashed, the value encrypted, and the expiry is the token's.
    let key = StoreKeys::new("pc").token(&TokenHash::of(&session.access));
    let line = request(address(&stack), &format!("mg {key} t v\r\n"));
    let seconds = line.trim().rsplit_once(" t").unwrap().1.parse::<u64>().unwrap();
    assert!((1200..=1260).contains(&seconds), "{line}");
    let mut stream = TcpStream::connect(address(&stack)).unwrap();
    stream.write_all(format!("get {key}\r\n").as_bytes()).unwrap();
    let value = BufReader::new(stream).lines().nth(1).unwrap().unwrap();
    assert!(value.starts_with("v1.test.") && !value.contains(&session.access), "{value}");

    // A logout revokes it at the next request.
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&session.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert_refused(get_with(&url, &session.access).await, 401, "token_revoked").await;
    assert_eq!(
        request(address(&stack), &format!("mg {key} v\r\n")),
        "EN\r\n",
        "the record is deleted"
    );

    // A logout by the refresh token of a later pair revokes it, too. If memcached evicts the
    // marker, the revoked token still does not pass.
    let first = stack.login().await;
    let second = Tokens::read(stack.refresh(&first.refresh).await).await;
    assert_eq!(get_with(&url, &second.access).await.status(), 200);
    let body = json!({ "refresh_token": second.refresh });
    assert_eq!(post(&stack.edge("/auth/logout"), body).await.status(), 204);
    for token in [&first.access, &second.access] {
        let key = StoreKeys::new("pc").token(&TokenHash::of(token));
        assert_eq!(request(address(&stack), &format!("mg {key} v\r\n")), "EN\r\n");
        let claims: serde_json::Value = payload(token);
        let (iss, sid) = (claims["iss"].as_str().unwrap(), claims["sid"].as_str().unwrap());
        let marker = StoreKeys::new("pc").revoked_sid(iss, sid);
        request(address(&stack), &format!("delete {marker}\r\n"));
        assert_refused(get_with(&url, token).await, 401, "token_inactive").await;
    }
    stop(stack).await;
}

#[tokio::test]
async fn evicted_record_is_introspected_once() {
    let stack = start(json!({ "store.timeout_ms": 3000 })).await;
    let (session, ended) = (stack.login().await, stack.login().await);
    let url = stack.edge("/api/hello");
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&ended.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    assert_eq!(request(address(&stack), "flush_all\r\n"), "OK\r\n");
    let queries = async || {
        stack.metric("auth_url", "portcullis_auth_database_queries_total", "request").await
    };
    // The auth service writes its revocations again within some seconds.
    assert_refused(get_with(&url, &ended.access).await, 401, "token_inactive").await;
    let before = queries().await;
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    let record = StoreKeys::new("pc").token(&TokenHash::of(&session.access));
    let begun = Instant::now();
    while request(address(&stack), &format!("mg {record} v\r\n")).starts_with("EN") {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is not written anew");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..9 {
        assert_eq!(get_with(&url, &session.access).await.status(), 200);
    }
    assert_eq!(queries().await - before, 1, "it is written anew");
    stop(stack).await;
}

#[tokio::test]
async fn fixed_window_limit_holds_on_memcached() {
    const QUOTA: usize = 20;
    let limit = json!({
        "quota": QUOTA, "window_seconds": 600, "by": "address", "algorithm": "fixed_window",
        "headers": true,
    });
    let whole = start(json!({})).await;
    let vars = || {
        json!({
            "store.url": whole.fact("store_url"), "store.timeout_ms": 3000,
            "issuers": [issuer_at(&serve(TRUSTED.jwks()))],
            "routes": [{ "name": "window", "path": "/public/*", "access": "public", "limit": limit }],
        })
    };
    let (one, other) = (vars(), vars());
    let isolates =
        tokio::task::spawn_blocking(move || [launch_edge(one), launch_edge(other)]).await.unwrap();
    let client = client();
    let calls: Vec<_> = (0..64)
        .map(|number| {
            let url = isolates[number % 2].edge("/public/x");
            tokio::spawn(client.get(url).header("cf-connecting-ip", "192.0.2.1").send())
        })
        .collect();
    let (mut admitted, mut has_remaining) = (0, false);
    for call in calls {
        let response = call.await.unwrap().unwrap();
        admitted += usize::from(response.status() == 200);
        if response.status() == 200 {
            assert_rate_limit_fields(&response, &["window"]);
        }
        has_remaining |= field(&response, "ratelimit").contains(";r=19;");
        if response.status() == 429 {
            let wait: u64 = field(&response, "retry-after").parse().unwrap();
            assert!((500..=660).contains(&wait), "{wait}");
        }
    }
    assert_eq!(admitted, QUOTA);
    assert!(has_remaining, "the remaining requests are reported");
    stop((isolates, whole)).await;
}

#[tokio::test]
async fn unreachable_memcached_is_reported() {
    let stack = start(json!({ "store.timeout_ms": 1000 })).await;
    let session = stack.login().await;
    let url = stack.edge("/api/hello");
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    stack.signal("memcached", "-STOP");
    let begun = Instant::now();
    assert_refused(get_with(&url, &session.access).await, 503, "store_timeout").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    stack.signal("memcached", "-CONT");
    assert_eq!(get_with(&url, &session.access).await.status(), 200);
    stack.signal("memcached", "-KILL");
    assert_refused(get_with(&url, &session.access).await, 503, "store_unreachable").await;
    assert_eq!(get(&stack.edge("/public/x")).send().await.unwrap().status(), 200);
    // A logout is delivered when the store is back, and a login still returns tokens.
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&session.access);
    assert_eq!(logout.send().await.unwrap().status(), 202);
    assert!(!stack.login().await.access.is_empty());
    stop(stack).await;
}

#[tokio::test]
async fn settings_that_need_scripts_are_rejected_at_start() {
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({})));
    let start = || {
        launch_edge(json!({
            "store.url": "memcached://127.0.0.1:1", "metrics.interval_seconds": 5,
            "issuers": [{
                "issuer": "https://a.example", "audience": AUDIENCE, "algorithms": ["EdDSA"],
                "jwks_url": "http://127.0.0.1:1/", "sessions_in_store": true,
            }],
            "limits": [{ "name": "s", "quota": 1, "window_seconds": 1, "by": "address", "algorithm": "sliding_window" }],
            "routes": [{
                "name": "api", "path": "/api/*", "access": "protected", "limits": ["s"],
                "limit": { "quota": 1, "window_seconds": 1, "by": "address" },
            }],
        }))
    };
    let stack = tokio::task::spawn_blocking(start).await.unwrap();
    assert_refused(get_with(&stack.edge("/api/x"), &token).await, 503, "configuration_invalid")
        .await;
    let log = stack.log("edge");
    for name in [
        "limits[0].algorithm (limit s)",
        "routes[0].limit.algorithm (route api)",
        "issuers[0].sessions_in_store",
        "metrics.interval_seconds",
    ] {
        let line = log.split(name).nth(1).unwrap_or_else(|| panic!("{name}: {log}"));
        assert!(line.split('"').next().unwrap().contains("a memcached has no scripts"), "{line}");
    }
    stop(stack).await;
}

#[tokio::test]
async fn memcached_is_reached_over_tls() {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let folder = Folder::new();
    let chain = folder.write("chain.pem", &cert.pem());
    let key = folder.write("key.pem", &signing_key.serialize_pem());
    for file in [&chain, &key] {
        // memcached runs as another user and must be able to read them.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(file, mode).unwrap();
    }
    let [port] = free_ports();
    let mut memcached = Command::new("memcached");
    memcached.args([
        "-u",
        "root",
        "-l",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-U",
        "0",
        "-Z",
        "-o",
    ]);
    memcached.arg(format!("ssl_chain_cert={},ssl_key={}", chain.display(), key.display()));
    let process = Process::start(&mut memcached, folder.file("memcached.log"));
    wait_for_port(port, &process);

    let limit = json!({
        "quota": 2, "window_seconds": 600, "by": "subject", "algorithm": "fixed_window",
        "on_store_outage": "deny",
    });
    let vars = || {
        json!({
            "store.url": format!("memcacheds://127.0.0.1:{port}"), "store.timeout_ms": 3000,
            "upstream.url": SHARED.fact("upstream_url"), "auth.url": SHARED.fact("auth_url"),
            "issuers": [issuer_at(&serve(TRUSTED.jwks()))],
            "routes": [{
                "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked",
                "limit": limit,
            }],
        })
    };
    let file = chain.to_string_lossy().into_owned();
    let (trusting, doubting) = (vars(), vars());
    let edges = tokio::task::spawn_blocking(move || {
        let options = ["--only", "edge", "--trust", &file];
        (Stack::start(&options, Some(trusting)), Stack::start(&options[..2], Some(doubting)))
    });
    let (edge, stranger) = edges.await.unwrap();
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({})));
    for expect in [200, 200, 429] {
        assert_eq!(get_with(&edge.edge("/api/x"), &token).await.status(), expect);
    }
    // A certificate of an unknown authority is rejected.
    let response = get_with(&stranger.edge("/api/x"), &token).await;
    assert_refused(response, 503, "store_unreachable").await;

    let written =
        an_auth_service_writes_to(&format!("memcacheds://127.0.0.1:{port}"), &chain).await;
    assert!(written, "the auth speaks to it as well");
    stop((edge, stranger)).await;
}

/// Returns whether an auth service can write to the store. Then a logout is 204, and otherwise 202.
async fn an_auth_service_writes_to(store_url: &str, trusted: &std::path::Path) -> bool {
    let folder = Folder::new();
    let program =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/portcullis-auth");
    let database = format!("sqlite://{}", folder.file("auth.db").display());
    let mut add = Command::new(&program);
    add.args(["user", "add", "--username", "u"]).env("DATABASE_URL", &database);
    let mut child = add
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"password").unwrap();
    assert!(child.wait().unwrap().success());
    let [port] = free_ports();
    let mut serve = Command::new(&program);
    serve.args([
        "serve",
        "--issuer",
        "https://a.example",
        "--audience",
        "a",
        "--store-url",
        store_url,
    ]);
    serve.args(["--admin-listen", "127.0.0.1:0"]);
    serve.args(["--listen", &format!("127.0.0.1:{port}")]).env("MASTER_KEY", RECORD_ENCRYPTION_KEY);
    serve.env("DATABASE_URL", &database).env("SSL_CERT_FILE", trusted);
    let auth = Process::start(&mut serve, folder.file("auth.log"));
    wait_for_port(port, &auth);
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let body = json!({ "username": "u", "password": "password" });
    let session = Tokens::read(post(&url("/auth/login"), body).await).await;
    let logout = json!({ "refresh_token": session.refresh });
    post(&url("/auth/logout"), logout).await.status() == 204
}
