//! HTTP and WebSockets through the edge, compared with the same exchange without it.

use crate::support::edge::start_edge;
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header};
use crate::support::provider::{Behaviour, Provider, answer};
use crate::support::stack::stop;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

#[tokio::test]
async fn websocket_is_forwarded_with_identity_headers() {
    let upstream = Provider::start(Behaviour::WebSocketEcho);
    let vars = json!({
        "issuers": [{
            "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks(),
        }],
        "upstream.url": upstream.url(""), "upstream.timeout_ms": 1000, "cors": { "origins": ["*"] },
    });
    let stack = start_edge(vars).await;
    let handshake = |credential: &str| {
        format!(
            "GET /api/socket HTTP/1.1\r\nhost: a.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n{credential}\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    };
    let open = |request: String| {
        let address = stack.edge("").trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        (stream, String::from_utf8(head).unwrap())
    };
    let (_, head) = open(handshake(""));
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert!(upstream.take().is_empty());

    let token = TRUSTED.sign(&header(json!({})), &claims(json!({})));
    let (mut stream, head) = open(handshake(&format!("authorization: Bearer {token}\r\n")));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    let seen = upstream.take().concat();
    assert!(seen.contains("portcullis-subject: alice") && !seen.contains(&token), "{seen}");
    // This takes longer than the upstream's timeout, which covers only the response's head.
    for message in [b"hello", b"again"] {
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let mut frame = vec![0x81, 0x85, 0, 0, 0, 0];
        frame.extend_from_slice(message);
        stream.write_all(&frame).unwrap();
        let mut echoed = [0; 7];
        stream.read_exact(&mut echoed).unwrap();
        assert_eq!(echoed[..2], [0x81, 5]);
        assert_eq!(&echoed[2..], message);
    }
    drop(stream);
    stop(stack).await;
}

/// Sends the same raw request directly to an upstream and through the edge. Both responses must
/// have the same meaning.
#[tokio::test]
async fn http_semantics_are_the_same_with_and_without_the_edge() {
    let upstream = Provider::start(answer(200, ""));
    let vars = json!({
        "issuers": [{
            "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks(),
        }],
        "routes": [
            { "name": "public", "path": "/public/*", "access": "public", "cors": { "origins": ["*"] } },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
        ],
        "upstream.url": upstream.url(""),
    });
    let stack = start_edge(vars).await;
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({})));
    let gzip = [
        31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 203, 72, 205, 201, 201, 7, 0, 134, 166, 16, 54, 5, 0, 0, 0,
    ];
    let plain = |head: &str, body: &[u8]| {
        let mut bytes = format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
        bytes.extend_from_slice(body);
        bytes
    };
    let cases: [(&str, &str, Vec<u8>); 14] = [
        ("HEAD", "", plain("200 OK\r\ncontent-length: 1234\r\netag: \"a\"", b"")),
        ("OPTIONS", "", plain("200 OK\r\nallow: GET, HEAD\r\ncontent-length: 0", b"")),
        ("GET", "if-none-match: \"a\"\r\n", plain("304 Not Modified\r\netag: \"a\"", b"")),
        (
            "GET",
            "range: bytes=1-3\r\n",
            plain("206 Partial Content\r\ncontent-range: bytes 1-3/9\r\ncontent-length: 3", b"ell"),
        ),
        (
            "GET",
            "range: bytes=99-\r\n",
            plain(
                "416 Range Not Satisfiable\r\ncontent-range: bytes */9\r\ncontent-length: 0",
                b"",
            ),
        ),
        ("DELETE", "", plain("204 No Content", b"")),
        (
            "GET",
            "accept-encoding: gzip\r\n",
            plain("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 25", &gzip),
        ),
        (
            "GET",
            "",
            plain(
                "200 OK\r\nset-cookie: a=1; Path=/\r\nset-cookie: b=2; Expires=Wed, 21 Oct 2026 07:28:00 GMT\r\ncontent-length: 2",
                b"ok",
            ),
        ),
        (
            "GET",
            "",
            plain("103 Early Hints\r\nlink: </x>", &plain("200 OK\r\ncontent-length: 2", b"ok")),
        ),
        (
            "POST",
            "content-length: 3\r\nexpect: 100-continue\r\n",
            plain("200 OK\r\ncontent-length: 2", b"ok"),
        ),
        (
            "GET",
            "te: trailers\r\n",
            plain(
                "200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum",
                b"2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
            ),
        ),
        (
            "GET",
            "",
            plain(
                "418 I'm a teapot\r\ncontent-length: 2\r\nvary: Accept\r\ncache-control: max-age=5",
                b"no",
            ),
        ),
        ("GET", "", plain("503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 2", b"no")),
        ("GET", "", plain("301 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0", b"")),
    ];
    for (method, fields, response) in cases {
        upstream.behave(Behaviour::Raw(response));
        let body = if fields.contains("content-length: 3") { "abc" } else { "" };
        for (path, credential) in
            [("/public/x", String::new()), ("/api/x", format!("authorization: Bearer {token}\r\n"))]
        {
            let request = format!(
                "{method} {path} HTTP/1.1\r\nhost: a.example\r\n{fields}{credential}connection: close\r\n\r\n{body}"
            );
            let without = exchange(&upstream.url(""), &request);
            let direct = upstream.take().concat();
            let with = exchange(&stack.edge(""), &request);
            assert_eq!(with, without, "{method} {path} {fields}");
            let seen = upstream.take().concat();
            for (name, value) in fields.lines().filter_map(|line| line.split_once(": ")) {
                // These are for the next hop alone.
                if !matches!(name, "expect" | "te") {
                    assert_eq!(field(&seen, name).as_deref(), Some(value), "{seen}");
                }
            }
            let body_of = |text: &str| text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
            assert_eq!(body_of(&seen), body_of(&direct), "{seen}");
        }
    }
    stop(stack).await;
}

/// Returns the value of a field of a raw request.
fn field(request: &str, name: &str) -> Option<String> {
    let mut fields = request.lines().filter_map(|line| line.split_once(':'));
    let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().to_owned())
}

/// Sends raw bytes. Returns the client's view of the response: the status, the end-to-end fields
/// and the body.
fn exchange(base: &str, request: &str) -> (String, Vec<String>, Vec<u8>) {
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut body = bytes[end + 4..].to_vec();
        let status = head.split(' ').nth(1).unwrap().to_owned();
        if status.starts_with('1') {
            bytes = body;
            continue;
        }
        let lower = head.to_lowercase();
        if lower.contains("transfer-encoding: chunked") {
            body = dechunk(&body);
        }
        const MEAN: [&str; 11] = [
            "allow:",
            "cache-control:",
            "content-encoding:",
            "content-range:",
            "etag:",
            "location:",
            "retry-after:",
            "set-cookie:",
            "vary:",
            "x-sum:",
            "content-length:",
        ];
        let kept = lower.lines().filter(|line| MEAN.iter().any(|name| line.starts_with(name)));
        // Each hop has its own framing, except for the length in a response to HEAD.
        let head_only = request.starts_with("HEAD");
        let mut fields: Vec<String> = kept
            .filter(|line| head_only || !line.starts_with("content-length:"))
            .map(str::to_owned)
            .collect();
        fields.sort();
        return (status, fields, body);
    }
}

fn dechunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).unwrap();
        let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    whole
}
