//! WebSockets and streamed bodies: untouched by default, and ended on routes that bound them.

use crate::support::edge::start_edge;
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header, now};
use crate::support::provider::{Behaviour, Provider};
use crate::support::socket::Socket;
use crate::support::stack::{SHARED, Stack, stop};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Starts an edge whose routes bound streams in different ways.
async fn edge_before(upstream: &str, more: Value) -> Stack {
    let route = |name: &str, members: Value| {
        let mut route = json!({
            "name": name, "path": format!("/{name}"), "access": "protected", "require": "not_revoked",
        });
        route.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        route
    };
    let mut vars = json!({
        "issuers": [{
            "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks(),
            "leeway_seconds": 1,
        }],
        "upstream.url": upstream,
        "routes": [
            route("free", json!({})),
            route("bounded", json!({ "stream_seconds_max": 2 })),
            route("expiring", json!({ "stream_seconds_max": 3600 })),
            route("rechecked", json!({ "stream_recheck_seconds": 1 })),
            route("lenient", json!({ "stream_recheck_seconds": 1, "on_store_outage": "signature" })),
        ],
    });
    vars.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    start_edge(vars).await
}

fn token(changes: Value) -> String {
    TRUSTED.sign(&header(json!({})), &claims(changes))
}

fn address(edge: &Stack) -> String {
    edge.edge("").trim_start_matches("http://").to_owned()
}

fn policy_violation(reason: &str) -> (u16, String) {
    (1008, reason.to_owned())
}

/// Revokes the session of every token of these tests, in the store.
async fn revoke(sid: &str) {
    let hash = digest(&SHA256, format!("{ISSUER}\n{sid}").as_bytes());
    let key = format!("pc:revoked:sid:{}", URL_SAFE_NO_PAD.encode(hash.as_ref()));
    SHARED.put(&key, &now().to_string()).await;
}

#[tokio::test]
async fn websocket_ends_with_its_time_or_its_token() {
    let upstream = Provider::start(Behaviour::WebSocketEcho);
    let edge = edge_before(&upstream.url(""), json!({})).await;
    let lasting = token(json!({ "sid": "lasting" }));
    let expiring = token(json!({ "sid": "expiring", "exp": now() + 3 }));

    let mut free = Socket::open(&address(&edge), "/free", &expiring);
    let mut expires = Socket::open(&address(&edge), "/expiring", &expiring);
    let begun = Instant::now();
    let mut bounded = Socket::open(&address(&edge), "/bounded", &lasting);
    bounded.echoes(b"hello");
    expires.echoes(b"hello");
    assert_eq!(bounded.closed(), policy_violation("stream_seconds_max"));
    let after = begun.elapsed();
    assert!(after >= Duration::from_secs(2) && after < Duration::from_secs(5), "{after:?}");
    assert_eq!(expires.closed(), policy_violation("token_expired"));
    // By default a WebSocket passes untouched, and outlives its token.
    free.echoes(b"still here");

    // A close passes in both directions, with its code and reason.
    let mut closes = Socket::open(&address(&edge), "/expiring", &lasting);
    closes.send(8, &[0x0f, 0xa1, b'b', b'y', b'e']);
    assert_eq!(closes.closed(), (4001, "bye".to_owned()));
    stop(edge).await;
}

#[tokio::test]
async fn websocket_ends_when_its_token_is_revoked() {
    let upstream = Provider::start(Behaviour::WebSocketEcho);
    let edge = edge_before(&upstream.url(""), json!({})).await;
    let revoked = token(json!({ "sid": "revoked-stream" }));
    let mut rechecked = Socket::open(&address(&edge), "/rechecked", &revoked);
    let mut other =
        Socket::open(&address(&edge), "/rechecked", &token(json!({ "sid": "another-stream" })));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    rechecked.echoes(b"asked twice");
    revoke("revoked-stream").await;
    assert_eq!(rechecked.closed(), policy_violation("token_revoked"));
    other.echoes(b"not revoked");
    stop(edge).await;
}

/// If the store fails, a route's `on_store_outage` applies to its streams, too.
#[tokio::test]
async fn store_outage_ends_streams_unless_the_signature_suffices() {
    let upstream = Provider::start(Behaviour::WebSocketEcho);
    let store = Provider::start(Behaviour::Answer {
        status: 200,
        body: r#"[{"result":[null,null,null,null,null,null,null]}]"#.to_owned(),
        after_ms: 0,
    });
    let vars = json!({ "store.url": store.url("") });
    let edge = edge_before(&upstream.url(""), vars).await;
    let token = token(json!({}));
    let mut strict = Socket::open(&address(&edge), "/rechecked", &token);
    let mut lenient = Socket::open(&address(&edge), "/lenient", &token);
    store.behave(Behaviour::Hangs);
    let (code, reason) = strict.closed();
    assert_eq!(code, 1008);
    assert!(reason.starts_with("store_"), "{reason}");
    // It is checked again twice meanwhile.
    std::thread::sleep(Duration::from_millis(2500));
    lenient.echoes(b"signed");
    stop(edge).await;
}

/// Serves an endless stream of events, or a given number of bytes.
fn streaming() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 8192]);
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
                );
                while stream.write_all(b"data: 1\n\n").is_ok() {
                    std::thread::sleep(Duration::from_millis(200));
                }
            });
        }
    });
    url
}

/// Reads a streamed response until it ends. Returns the duration, and whether the response was
/// complete.
fn read_stream(edge: &Stack, path: &str, token: &str) -> (Duration, bool) {
    let mut stream = TcpStream::connect(address(edge)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
    let begun = Instant::now();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n")
        .unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("data: 1"), "{text}");
    (begun.elapsed(), text.ends_with("0\r\n\r\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_body_ends_with_its_time_its_token_or_a_revocation() {
    let edge = edge_before(&streaming(), json!({})).await;
    let (after, complete) = read_stream(&edge, "/bounded", &token(json!({ "sid": "body" })));
    assert!(after >= Duration::from_secs(2) && after < Duration::from_secs(6), "{after:?}");
    assert!(!complete, "a client can tell that it is cut off");
    let expiring = token(json!({ "sid": "body", "exp": now() + 2 }));
    let (after, _) = read_stream(&edge, "/expiring", &expiring);
    assert!(after >= Duration::from_secs(1) && after < Duration::from_secs(6), "{after:?}");
    let revoked = token(json!({ "sid": "revoked-body" }));
    let revoking = tokio::spawn(async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        revoke("revoked-body").await;
    });
    let (after, _) = tokio::task::block_in_place(|| read_stream(&edge, "/rechecked", &revoked));
    revoking.await.unwrap();
    assert!(after >= Duration::from_millis(1500) && after < Duration::from_secs(8), "{after:?}");
    stop(edge).await;
}

/// If a client reads nothing, the edge does not buffer everything that its upstream sends.
#[tokio::test]
async fn slow_reader_of_a_websocket_is_cut_off() {
    // 64 MiB in messages of 64 KiB.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let flood = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 8192];
        let length = stream.read(&mut request).unwrap();
        let request = String::from_utf8_lossy(&request[..length]).into_owned();
        let key = request.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
        });
        let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.unwrap());
        let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()));
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        let _ = stream.write_all(head.as_bytes());
        let message = [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], vec![0; 65_536].as_slice()].concat();
        (0..1024).take_while(|_| stream.write_all(&message).is_ok()).count()
    });
    let edge = edge_before(&url, json!({})).await;
    let mut socket = Socket::open(&address(&edge), "/expiring", &token(json!({})));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (mut kind, mut message, mut read) = (2, Vec::new(), 0);
    while kind == 2 {
        read += message.len();
        (kind, message) = socket.read();
    }
    assert_eq!((kind, &message[2..]), (8, b"slow_reader".as_slice()));
    // The bound, plus the system's own buffers.
    assert!(read < 16 * 1024 * 1024, "{read} bytes were kept");
    drop(socket);
    let _ = flood.join();
    stop(edge).await;
}
