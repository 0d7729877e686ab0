//! Blocks of subjects, clients, API keys and addresses, and the list of blocked networks, written
//! to the store as docs/storage.md says.

use super::limits::scene::{call, open, protected, store, token, trips, unique};
use crate::support::edge::start_edge;
use crate::support::environment::on_memcached;
use crate::support::gateway::{Gateway, TOKEN};
use crate::support::http::{assert_refused, client, get_with};
use crate::support::issuer::{ISSUER, TRUSTED, issuer_at, now, serve};
use crate::support::process::Folder;
use crate::support::proxy::{Fault, Proxy};
use crate::support::redis_server::Redis;
use crate::support::stack::{Stack, stop};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Response;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// Returns the key of a block: the SHA-256 of issuer, line break and name, in base64url. An address
/// has its kind in place of an issuer.
fn key(kind: &str, name: &str) -> String {
    let realm = if kind == "address" { kind } else { ISSUER };
    let text = format!("{realm}\n{name}");
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    format!("pc:block:{kind}:{}", URL_SAFE_NO_PAD.encode(digest.as_ref()))
}

fn set(redis: &Redis, key: &str, value: &str) {
    let mut set = redis::cmd("SET");
    set.arg(key).arg(value).arg("EX").arg(60).exec(&mut redis.connection()).unwrap();
}

fn delete(redis: &Redis, key: &str) {
    redis::cmd("DEL").arg(key).exec(&mut redis.connection()).unwrap();
}

const LIST: &str = "pc:block:networks";

fn networks(networks: &[&str]) -> String {
    let until = now() + 60;
    let entries: Vec<Value> = networks.iter().map(|network| json!([network, until])).collect();
    json!({ "v": 1, "networks": entries }).to_string()
}

/// Starts an edge before this store.
async fn edge(url: &str, vars: Value) -> Stack {
    let mut all = json!({
        "issuers": [issuer_at(&serve(TRUSTED.jwks()))], "store.url": url, "STORE_TOKEN": TOKEN,
        "logging.requests": "all", "block.refresh_seconds": 0,
        "routes": [
            protected("x", json!({})),
            { "name": "trial", "path": "/api/trial", "access": "protected", "enforce": false },
            { "name": "auth", "path": "/auth/*", "access": "auth" },
            open("limited", json!({ "quota": 1000, "window_seconds": 60, "by": "address" })),
            { "name": "public", "path": "/public/*", "access": "public" },
        ],
    });
    all.as_object_mut().unwrap().extend(vars.as_object().unwrap().clone());
    start_edge(all).await
}

async fn code(response: Response) -> String {
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

/// Sends requests until the code is `expect`. Returns how long that took.
async fn until(expect: &str, send: impl AsyncFn() -> Response) -> Duration {
    let begun = Instant::now();
    loop {
        let sent = begun.elapsed();
        let code = code(send().await).await;
        if code == expect {
            return sent;
        }
        assert!(sent < Duration::from_secs(10), "{code} for 10 s, not {expect}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How often Redis ran a command.
fn calls(redis: &Redis, command: &str) -> u64 {
    let info: String =
        redis::cmd("INFO").arg("commandstats").query(&mut redis.connection()).unwrap();
    let name = format!("cmdstat_{command}:calls=");
    let line = info.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test]
async fn block_takes_effect_with_the_next_request_and_ends_within_a_second() {
    // The tests of this file write to a Redis of their own.
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let stack = edge(&gateway.url, json!({})).await;
    let (sub, client_id) = (unique("sub"), unique("client"));
    let token = token(json!({ "sub": sub, "client_id": client_id }));
    let (v4, v6) = ("192.0.2.7", "2001:db8:1:2::7");
    for (kind, name, address) in [
        ("subject", sub.as_str(), v4),
        ("client", &client_id, v4),
        ("address", v4, v4),
        ("address", "2001:db8:1:2::/64", v6),
    ] {
        let send = async || call(&stack, "/api/x", address, Some(&token)).await;
        assert_eq!(send().await.status(), 200, "{kind}");
        let key = key(kind, name);
        set(&redis, &key, "");
        let challenge = assert_refused(send().await, 403, "blocked").await;
        assert_eq!(challenge, "", "another token does not help");
        assert!(stack.log("edge").contains(&format!(r#""block":"{kind}""#)), "{kind}");
        delete(&redis, &key);
        let took = until("", send).await;
        println!("{kind}: admitted {took:?} after the end of the block");
        assert!(took <= Duration::from_millis(1300), "{kind}: {took:?}");
    }
    assert!(!stack.log("edge").contains(r#""marker""#), "a block is no revocation");
    // A request without a token asks with its limit.
    let open = async |address| call(&stack, "/public/limited", address, None).await;
    assert_eq!(open(v4).await.status(), 200);
    set(&redis, &key("address", v4), "1");
    assert_refused(open(v4).await, 403, "blocked").await;
    assert_eq!(open("192.0.2.8").await.status(), 200, "another address");
    assert_eq!(call(&stack, "/public/x", v4, None).await.status(), 200, "it asks nothing");
    // A token is not blocked because one of its addresses is.
    assert_refused(call(&stack, "/api/x", v4, Some(&token)).await, 403, "blocked").await;
    assert_eq!(call(&stack, "/api/x", v6, Some(&token)).await.status(), 200);
    stop((stack, redis, gateway)).await;
}

/// A request with a token makes one trip with one command, and none about its address alone.
#[tokio::test]
async fn blocks_cost_a_request_with_a_token_no_command() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let stack = edge(&gateway.url, json!({})).await;
    let token = token(json!({}));
    // The first requests load the script.
    for (path, token) in [("/api/x", Some(token.as_str())), ("/public/limited", None)] {
        assert_eq!(call(&stack, path, "192.0.2.1", token).await.status(), 200);
    }
    let counts = async || {
        (
            trips(&gateway).await,
            calls(&redis, "mget"),
            calls(&redis, "get"),
            calls(&redis, "evalsha"),
        )
    };
    let before = counts().await;
    for _ in 0..20 {
        assert_eq!(call(&stack, "/api/x", "192.0.2.1", Some(&token)).await.status(), 200);
    }
    let (trips, mget, get, evalsha) = counts().await;
    assert_eq!((trips, mget, get, evalsha), (before.0 + 20, before.1 + 20, before.2, before.3));
    for _ in 0..20 {
        assert_eq!(call(&stack, "/public/limited", "192.0.2.1", None).await.status(), 200);
    }
    // The script's own commands do not count here: it runs no GET for this limit.
    assert_eq!(counts().await, (trips + 20, mget, get + 20, evalsha + 20));
    stop((stack, redis, gateway)).await;
}

#[tokio::test]
async fn block_takes_effect_within_the_revocation_delay_in_every_isolate() {
    if on_memcached() {
        return;
    }
    const BOUND: Duration = Duration::from_secs(2);
    let (redis, gateway) = store().await;
    let leased = json!({ "limit": { "quota": 60_000, "window_seconds": 60, "by": "subject" } });
    let vars = json!({
        "revocation.delay_seconds_max": BOUND.as_secs(),
        "routes": [protected("leased", leased), protected("x", json!({}))],
    });
    let (a, b, c, d) = tokio::join!(
        edge(&gateway.url, vars.clone()),
        edge(&gateway.url, vars.clone()),
        edge(&gateway.url, vars.clone()),
        edge(&gateway.url, vars)
    );
    let isolates = [a, b, c, d];
    for path in ["/api/x", "/api/leased"] {
        let sub = unique("sub");
        let token = token(json!({ "sub": sub }));
        let begun = Instant::now();
        // Every isolate renews what it has in the background.
        while begun.elapsed() < BOUND {
            for isolate in &isolates {
                assert_eq!(get_with(&isolate.edge(path), &token).await.status(), 200);
            }
        }
        set(&redis, &key("subject", &sub), "1");
        let (blocked, mut last_accepted) = (Instant::now(), Duration::ZERO);
        while blocked.elapsed() < BOUND + Duration::from_secs(1) {
            for isolate in &isolates {
                let sent = blocked.elapsed();
                match get_with(&isolate.edge(path), &token).await.status().as_u16() {
                    200 => last_accepted = sent,
                    status => assert_eq!(status, 403),
                }
            }
        }
        println!("{path}, a bound of {BOUND:?}, 4 isolates: last accepted after {last_accepted:?}");
        assert!(last_accepted <= BOUND, "{path}: {last_accepted:?}");
    }
    stop((isolates, redis, gateway)).await;
}

/// Requests that ask the store nothing are refused once the isolate has the list.
#[tokio::test]
async fn blocked_network_is_refused_everywhere_within_the_refresh_time() {
    if on_memcached() {
        return;
    }
    const REFRESH: Duration = Duration::from_secs(2);
    let (redis, gateway) = store().await;
    let proxy = Proxy::start(&gateway.url);
    let stack = edge(&proxy.url(), json!({ "block.refresh_seconds": REFRESH.as_secs() })).await;
    let paths = ["/public/x", "/api/x", "/auth/login", "/nowhere", "/public/limited"];
    let send = async |path: &str, address: &str| {
        let request = client().get(stack.edge(path)).header("cf-connecting-ip", address);
        request.header("authorization", "Bearer garbage").send().await.unwrap()
    };
    for path in paths {
        assert_ne!(code(send(path, "192.0.2.1").await).await, "blocked", "{path}");
    }
    set(&redis, LIST, &networks(&["192.0.2.0/24", "2001:db8::/32"]));
    let took = until("blocked", || send("/public/x", "192.0.2.1")).await;
    println!("a list of 2 s took effect after {took:?}");
    assert!(took <= REFRESH, "{took:?}");
    for path in paths {
        assert_refused(send(path, "192.0.2.1").await, 403, "blocked").await;
        assert_refused(send(path, "2001:db8:ffff::1").await, 403, "blocked").await;
        assert_ne!(code(send(path, "192.0.3.1").await).await, "blocked", "{path}");
    }
    let preflight = client().request(reqwest::Method::OPTIONS, stack.edge("/api/x"));
    let preflight = preflight.header("origin", "https://app.example");
    let preflight = preflight.header("access-control-request-method", "GET");
    let preflight = preflight.header("cf-connecting-ip", "192.0.2.1").send().await.unwrap();
    assert_refused(preflight, 403, "blocked").await;
    // A route that is not enforced goes on, and logs it.
    let trial = call(&stack, "/api/trial", "192.0.2.1", None).await;
    assert_eq!(trial.status(), 200);
    let log = stack.log("edge");
    let line = log.lines().find(|line| line.contains(r#""route":"trial""#)).unwrap();
    assert!(line.contains(r#""outcome":"forwarded""#), "{line}");
    assert!(line.contains(r#""block":"address""#), "{line}");

    // While a blocked network sends requests, the end of its block takes effect within a second.
    delete(&redis, LIST);
    let took = until("", || call(&stack, "/public/x", "192.0.2.1", None)).await;
    println!("an empty list took effect after {took:?}");
    assert!(took <= Duration::from_millis(1300), "{took:?}");
    set(&redis, LIST, &networks(&["192.0.2.0/24"]));
    until("blocked", || send("/public/x", "192.0.2.1")).await;

    // A list that can't be read changes nothing, and is logged once.
    set(&redis, LIST, r#"{"v":1,"networks":[["192.0.2.0/24"]]}"#);
    let unreadable = || {
        let log = stack.log("edge");
        log.lines().filter(|line| line.contains("block_list_unreadable")).count()
    };
    let begun = Instant::now();
    while begun.elapsed() < 3 * REFRESH {
        assert_refused(send("/public/x", "192.0.2.1").await, 403, "blocked").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(unreadable(), 1);
    // While the store is down, the last list holds.
    proxy.set(Fault::Refuses);
    let begun = Instant::now();
    while begun.elapsed() < 2 * REFRESH {
        assert_refused(send("/public/x", "192.0.2.1").await, 403, "blocked").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    proxy.set(Fault::None);
    assert_eq!(unreadable(), 1);
    delete(&redis, LIST);
    // The store's breaker may still be open.
    let took = until("", || call(&stack, "/public/x", "192.0.2.1", None)).await;
    println!("an empty list took effect after {took:?}, after an outage");
    stop((stack, redis, gateway)).await;
}

/// The platform drops a fetch of the list with the client whose request began it.
#[tokio::test]
async fn clients_that_leave_delay_no_blocked_network() {
    if on_memcached() {
        return;
    }
    const REFRESH: Duration = Duration::from_secs(4);
    let (redis, gateway) = store().await;
    let proxy = Proxy::start(&gateway.url);
    let stack = edge(&proxy.url(), json!({ "block.refresh_seconds": REFRESH.as_secs() })).await;
    let send = async || call(&stack, "/public/x", "192.0.2.1", None).await;
    assert_eq!(code(send().await).await, "");
    set(&redis, LIST, &networks(&["192.0.2.0/24"]));
    // The store takes longer than these clients wait.
    proxy.set(Fault::Late { ms: 100 });
    let leave = async || {
        let address = stack.edge("").trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = "GET /public/limited HTTP/1.1\r\nhost: a.example\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.set_zero_linger().unwrap();
    };
    let begun = Instant::now();
    let mut left = 0;
    while code(send().await).await != "blocked" {
        assert!(begun.elapsed() < REFRESH + Duration::from_secs(1), "after {left} clients");
        for _ in 0..8 {
            leave().await;
            left += 1;
        }
    }
    println!("the list took effect after {:?} and {left} clients", begun.elapsed());
    stop((stack, redis, gateway)).await;
}

#[tokio::test]
async fn list_of_1000_networks_is_read_and_ends_by_itself() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let stack = edge(&gateway.url, json!({ "block.refresh_seconds": 2 })).await;
    // The longest form of a network.
    let until_seconds = now() + 6;
    let entries: Vec<Value> = (0..1000)
        .map(|at| {
            let network = format!("2001:db8:ffff:ffff:ffff:ffff:ffff:{:x}", 0x1000 + at);
            json!([network, until_seconds])
        })
        .collect();
    set(&redis, LIST, &json!({ "v": 1, "networks": entries }).to_string());
    let send = async |address: &str| call(&stack, "/public/x", address, None).await;
    let first = "2001:db8:ffff:ffff:ffff:ffff:ffff:1000";
    until("blocked", || send(first)).await;
    for (address, expect) in [
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:13e7", "blocked"),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:13e8", ""),
        ("2001:db8:ffff:ffff:ffff:ffff:ffff:fff", ""),
        ("192.0.2.1", ""),
    ] {
        assert_eq!(code(send(address).await).await, expect, "{address}");
    }
    // Nothing deletes the list.
    until("", || send(first)).await;
    assert!(now() >= until_seconds, "too early");
    assert!(calls(&redis, "get") > 0);
    stop((stack, redis, gateway)).await;
}

/// What an isolate has seen blocked stays refused while the store is down.
#[tokio::test]
async fn block_that_an_isolate_knows_holds_while_the_store_is_down() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let proxy = Proxy::start(&gateway.url);
    let route = protected("x", json!({ "on_store_outage": "signature" }));
    let stack = edge(&proxy.url(), json!({ "routes": [route], "store.timeout_ms": 300 })).await;
    let sub = unique("sub");
    let (blocked, other) = (token(json!({ "sub": sub })), token(json!({ "sub": unique("other") })));
    set(&redis, &key("subject", &sub), "1");
    let url = stack.edge("/api/x");
    assert_refused(get_with(&url, &blocked).await, 403, "blocked").await;
    proxy.set(Fault::Hangs);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        assert_refused(get_with(&url, &blocked).await, 403, "blocked").await;
        assert_eq!(get_with(&url, &other).await.status(), 200, "by its signature alone");
    }
    stop((stack, redis, gateway)).await;
}

/// The documented tokens: the edge reads blocks, and can neither set nor end one.
#[tokio::test]
async fn edge_token_reads_blocks_and_writes_none() {
    const EDGE: &str = "edge-edge-edge-edge-edge-edge-edge";
    let redis = Redis::start(&[]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis-gateway-tokens.toml");
    let documented = std::fs::read_to_string(file).unwrap().replace("EDGE_TOKEN", EDGE);
    let folder = Folder::new();
    let file = folder.write("tokens.toml", &documented.replace("AUTH_TOKEN", &"a".repeat(32)));
    let file = file.to_str().unwrap().to_owned();
    let gateway = Gateway::start_in(folder, &redis.url(), &[("GATEWAY_TOKENS_FILE", &file)]);
    gateway.ready().await;
    let marker = key("subject", "alice");
    set(&redis, &marker, "1");
    let run = async |words: &[&str]| {
        let request = client().post(&gateway.url).bearer_auth(EDGE).json(words);
        request.send().await.unwrap().json::<Value>().await.unwrap()
    };
    assert_eq!(run(&["GET", &marker]).await["result"], "1");
    assert_eq!(run(&["MGET", LIST, &marker]).await["result"], json!([null, "1"]));
    for words in [
        vec!["SET", LIST, "x"],
        vec!["SET", &marker, "1"],
        vec!["DEL", &marker],
        vec!["EXPIRE", &marker, "0"],
        vec!["UNLINK", &marker],
        vec!["GETDEL", &marker],
    ] {
        let error = run(&words).await["error"].to_string();
        assert!(error.contains("NOPERM"), "{words:?}: {error}");
    }
    stop((redis, gateway)).await;
}
