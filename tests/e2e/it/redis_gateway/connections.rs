//! The redis gateway as a public server: bounds of bodies, heads and connections.

use crate::support::gateway::{GATEWAY, Gateway, TOKEN, read_reply};
use crate::support::http::client;
use crate::support::redis_server::Redis;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Sends bytes, and reads until the server is done.
fn exchange(gateway: &Gateway, bytes: &[u8]) -> String {
    let mut stream = gateway.connect();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn body_over_the_limit_is_rejected() {
    let gateway = &GATEWAY.1;
    let large = |bytes: usize| {
        let value = vec![b'x'; bytes];
        client().post(format!("{}/set/gw:large", gateway.url)).bearer_auth(TOKEN).body(value).send()
    };
    assert_eq!(large(10_000_000).await.unwrap().status(), 200);
    let (status, body) = read_reply(large(10_000_001).await.unwrap()).await;
    assert_eq!((status, body), (413, json!({ "error": "ERR max request size exceeded" })));
    gateway.run(json!(["DEL", "gw:large"])).await;
    // Without a content length, the bytes are counted as they arrive.
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n");
    let mut chunked = format!("{head}transfer-encoding: chunked\r\n\r\n").into_bytes();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    (0..10).for_each(|_| chunked.extend(&chunk));
    chunked.extend(b"0\r\n\r\n");
    let answered = exchange(gateway, &chunked);
    assert!(answered.starts_with("HTTP/1.1 413"), "{answered}");
    // The body is deeply nested.
    let (status, body) = read_reply(
        client()
            .post(&gateway.url)
            .bearer_auth(TOKEN)
            .body("[".repeat(1 << 20))
            .send()
            .await
            .unwrap(),
    )
    .await;
    assert_eq!((status, body), (400, json!({ "error": "ERR failed to parse command" })));
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_or_large_heads_and_bodies_are_rejected() {
    let gateway = &GATEWAY.1;
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n");
    let slow = tokio::task::spawn_blocking({
        let head = head.clone();
        move || {
            let begun = Instant::now();
            let answered =
                exchange(gateway, format!("{head}content-length: 20\r\n\r\n[\"PI").as_bytes());
            (answered, begun.elapsed())
        }
    });
    // A request without a token is rejected before its body arrives.
    let begun = Instant::now();
    let stranger =
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\nconnection: close\r\n\r\n[\"PI";
    assert!(exchange(gateway, stranger.as_bytes()).starts_with("HTTP/1.1 401"));
    assert!(begun.elapsed() < Duration::from_secs(2));
    let wide = format!("{head}x: {}\r\n\r\n", "y".repeat(200_000));
    let answered = exchange(gateway, wide.as_bytes());
    assert!(answered.starts_with("HTTP/1.1 431") || answered.is_empty(), "{answered}");
    let many: String = (0..100).map(|n| format!("x{n}: y\r\n")).collect();
    let answered = exchange(gateway, format!("{head}{many}\r\n").as_bytes());
    assert!(answered.starts_with("HTTP/1.1 431"), "{answered}");
    for garbage in [b"\x16\x03\x01\x02\x00".as_slice(), b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n"] {
        let answered = exchange(gateway, &[garbage, b"\r\n\r\n"].concat());
        assert!(answered.starts_with("HTTP/1.1 400") || answered.is_empty(), "{answered}");
    }
    let (answered, elapsed) = slow.await.unwrap();
    assert!(answered.starts_with("HTTP/1.1 408"), "{answered}");
    assert!((9..15).contains(&elapsed.as_secs()), "{elapsed:?}");
    assert_eq!(gateway.run(json!(["PING"])).await, "PONG");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connection_and_slow_head_are_closed() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[("GATEWAY_IDLE_SECONDS", "2")]);
    let head = format!("GET /ping HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n");
    for (begin, answers) in [("", 0), (head.as_str(), 0), (format!("{head}\r\n").as_str(), 1)] {
        let begun = Instant::now();
        let answered = exchange(&gateway, begin.as_bytes());
        assert_eq!(answered.matches("PONG").count(), answers, "{answered}");
        assert!((1500..6000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    }
    // A head that arrives byte by byte has the same timeout.
    let begun = Instant::now();
    let mut slow = gateway.connect();
    while begun.elapsed() < Duration::from_secs(10) && slow.write_all(b"G").is_ok() {
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!((1500..7000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn connection_over_the_limit_is_closed() {
    let redis = Redis::start(&[]);
    let gateway = Gateway::start(&redis.url(), &[("GATEWAY_CONNECTIONS_MAX", "3")]);
    let request = format!("GET /ping HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    let send = |stream: &mut TcpStream| {
        let mut buffer = [0; 1024];
        let _ = stream.write_all(request.as_bytes());
        stream.read(&mut buffer).unwrap_or(0)
    };
    // The connection that tested the port may not be closed yet.
    std::thread::sleep(Duration::from_secs(1));
    let mut held: Vec<TcpStream> = (0..3).map(|_| gateway.connect()).collect();
    held.iter_mut().for_each(|stream| assert!(send(stream) > 0));
    assert_eq!(send(&mut gateway.connect()), 0, "closed");
    held.iter_mut().for_each(|stream| assert!(send(stream) > 0, "the others go on"));
    held.pop();
    std::thread::sleep(Duration::from_secs(1));
    assert!(send(&mut gateway.connect()) > 0, "there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn body_in_tiny_chunks_does_not_block_other_requests() {
    let gateway = &GATEWAY.1;
    let mut slow = gateway.connect();
    let head = format!("POST / HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n");
    slow.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).unwrap();
    slow.write_all(&b"1\r\n \r\n".repeat(300_000)).unwrap();
    for _ in 0..10 {
        assert_eq!(gateway.run(json!(["PING"])).await, "PONG");
    }
    // The body is white space, so it is not a command, but it was read.
    slow.write_all(b"0\r\n\r\n").unwrap();
    let mut buffer = [0; 512];
    let count = slow.read(&mut buffer).unwrap();
    let answered = String::from_utf8_lossy(&buffer[..count]);
    assert!(answered.starts_with("HTTP/1.1 400"), "{answered}");
}
