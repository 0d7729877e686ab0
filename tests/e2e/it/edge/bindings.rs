//! Upstreams and an auth service that are reached by a binding of the Worker, such as another
//! Worker. A VPC service and an mTLS certificate have the interface of a service binding, which
//! takes their place here.

use crate::support::edge::start_edge;
use crate::support::environment::xtask;
use crate::support::http::{assert_refused, client, get, get_with, post};
use crate::support::own_workerd::OwnWorkerd;
use crate::support::process::Folder;
use crate::support::socket::Socket;
use crate::support::stack::{Stack, Tokens, stop};
use serde_json::{Value, json};
use socket2::SockRef;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A Worker as the API: it says what it received, streams, and echoes messages.
const API: &str = r#"
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (request.headers.get('upgrade') === 'websocket') {
      const [client, server] = Object.values(new WebSocketPair());
      server.accept();
      server.addEventListener('message', ({ data }) => server.send(data));
      return new Response(null, { status: 101, webSocket: client });
    }
    if (pathname.endsWith('/stream')) {
      const { readable, writable } = new TransformStream();
      const writer = writable.getWriter();
      (async () => {
        for (const part of ['one ', 'two ', 'three']) await writer.write(new TextEncoder().encode(part));
        await writer.close();
      })();
      return new Response(readable);
    }
    const { url, method, headers } = request;
    return Response.json({ url, method, headers: Object.fromEntries(headers), body: await request.text() });
  },
};
"#;

/// A Worker that passes requests on to the auth service.
const AUTH: &str = r#"
export default {
  fetch(request) {
    const { pathname, search } = new URL(request.url);
    return fetch(new Request(`AUTH_URL${pathname}${search}`, request));
  },
};
"#;

/// Starts an edge whose upstream and auth service are bindings.
fn start(bindings: &str) -> (Stack, OwnWorkerd) {
    let stack = Stack::start(&[], None);
    let auth = AUTH.replace("AUTH_URL", stack.fact("auth_url"));
    let own =
        OwnWorkerd::start(&stack, &[("api", API), ("auth", &auth)], |name, text| match name {
            "config.capnp" => text.replacen("bindings = [", &format!("bindings = [{bindings}"), 1),
            // The policy names URLs by variables.
            "policy.js" => text
                .replace("${UPSTREAM_URL}", "binding:API")
                .replace("${AUTH_URL}", "binding:AUTH")
                .replace("${JWKS_URL}", "binding:AUTH/.well-known/jwks.json")
                .replace(
                    "${INTROSPECTION_URL}",
                    "binding:AUTH https://auth.example/oauth/introspect",
                ),
            _ => text,
        });
    (stack, own)
}

const BINDINGS: &str = r#"(name = "API", service = "api"), (name = "AUTH", service = "auth"), "#;

#[tokio::test]
async fn upstream_and_auth_service_can_be_bindings() {
    let (stack, edge) = start(BINDINGS);
    let login = json!({ "username": stack.username(), "password": stack.password() });
    let response = post(&edge.url("/auth/login"), login).await;
    assert_eq!(response.status(), 200, "{}", edge.process.text());
    let tokens = Tokens::read(response).await;
    let request = client().post(edge.url("/api/x?q=1")).bearer_auth(&tokens.access);
    let echo: Value = request.body("the body").send().await.unwrap().json().await.unwrap();
    assert_eq!(echo["url"], "https://api.binding/api/x?q=1", "{echo}");
    assert_eq!((&echo["method"], &echo["body"]), (&json!("POST"), &json!("the body")));
    assert!(echo["headers"]["portcullis-subject"].is_string(), "{echo}");
    assert_eq!(echo["headers"]["authorization"], Value::Null);

    let stream = get_with(&edge.url("/api/stream"), &tokens.access).await;
    assert_eq!(stream.text().await.unwrap(), "one two three");

    let address = edge.url("").replace("http://", "");
    let token = tokens.access.clone();
    let socket = move || Socket::open(&address, "/api/socket", &token).echoes(b"hello");
    tokio::task::spawn_blocking(socket).await.unwrap();

    // A refresh is read to its end, and a logout revokes.
    let refresh = json!({ "refresh_token": tokens.refresh });
    let refreshed = Tokens::read(post(&edge.url("/auth/refresh"), refresh).await).await;
    let logout = client().post(edge.url("/auth/logout")).bearer_auth(&refreshed.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    assert_refused(get_with(&edge.url("/api/x"), &refreshed.access).await, 401, "token_revoked")
        .await;
}

#[tokio::test]
async fn missing_binding_is_an_error_at_the_start() {
    let (_stack, edge) = start(r#"(name = "API", service = "api"), "#);
    assert_refused(get(&edge.url("/public/x")).send().await.unwrap(), 503, "configuration_invalid")
        .await;
    let log = edge.process.says("configuration_invalid").await;
    for place in ["auth.url: the Worker has no binding AUTH", "issuers[0].introspection.url"] {
        assert!(log.contains(place), "{place}: {log}");
    }
    assert!(!log.contains("binding API"), "{log}");
}

#[test]
fn malformed_binding_is_an_error_of_the_policy() {
    let folder = Folder::new();
    let shipped =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../portcullis.toml"));
    let policy = shipped.unwrap().replace("${UPSTREAM_URL}", "binding:MY-API");
    let file = folder.write("portcullis.toml", &policy);
    let output = xtask().args(["policy", "check"]).arg(file).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("upstream.url: is not a URL") && text.contains("binding:NAME"), "{text}");
}

/// The kinds of bindings that send requests, each with an upstream of the policy. In workerd, each
/// is a service binding; on Cloudflare, each has the same interface.
const KINDS: [(&str, &str); 3] = [
    ("service", "binding:SERVICE"),
    ("vpc", "binding:VPC https://api.internal.example"),
    ("mtls", "binding:MTLS https://partner.example/v1"),
];

/// A Worker as the API of all kinds: it echoes bodies and messages, and holds requests open by a
/// server behind it.
const HELD_API: &str = r#"
export default {
  async fetch(request) {
    const { url, method, headers } = request;
    const { pathname } = new URL(url);
    if (headers.get('upgrade') === 'websocket') {
      const [client, server] = Object.values(new WebSocketPair());
      server.accept();
      server.addEventListener('message', ({ data }) => server.send(data));
      return new Response(null, { status: 101, webSocket: client });
    }
    if (pathname.endsWith('/duplex')) return new Response(request.body);
    if (pathname.includes('/held/')) return fetch(`SERVER_URL${pathname}`);
    return Response.json({ url, method, length: (await request.arrayBuffer()).byteLength });
  },
};
"#;

/// A server that never ends a response, and counts its open requests. It begins those whose path
/// ends with `begun`.
struct Holding {
    url: String,
    open: Arc<AtomicUsize>,
}

impl Holding {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let open = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&open);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                std::thread::spawn(move || {
                    count.fetch_add(1, Ordering::SeqCst);
                    Self::hold(stream);
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { url, open }
    }

    fn hold(mut stream: TcpStream) {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut chunk = [0; 65_536];
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            if String::from_utf8_lossy(&chunk[..read]).contains("/begun ") {
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegun\r\n";
                stream.write_all(head.as_bytes()).unwrap();
            }
        }
    }

    /// Waits until this many requests are open.
    fn has_open(&self, count: usize, place: &str) {
        let begun = Instant::now();
        while self.open.load(Ordering::SeqCst) != count {
            let open = self.open.load(Ordering::SeqCst);
            assert!(begun.elapsed() < Duration::from_secs(10), "{place}: {open} are open");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A connection on which a test writes and reads bytes.
struct Raw(TcpStream);

impl Raw {
    fn send(address: &str, request: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        Self(stream)
    }

    fn reads(&mut self, text: &str) {
        let (mut answer, mut byte) = (Vec::new(), [0]);
        while !answer.ends_with(text.as_bytes()) {
            let read = self.0.read(&mut byte).unwrap_or(0);
            assert!(read == 1, "no {text} in {}", String::from_utf8_lossy(&answer));
            answer.push(byte[0]);
        }
    }

    /// Closes the connection with a reset instead of a normal end.
    fn reset(self) {
        SockRef::from(&self.0).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

#[tokio::test]
async fn each_kind_of_binding_carries_bodies_streams_sockets_and_aborts() {
    let route = |(kind, _): &(&str, &str)| {
        json!({ "name": kind, "path": format!("/{kind}/*"), "access": "public",
                "upstream": format!("https://{kind}.invalid") })
    };
    let routes: Vec<Value> = KINDS.iter().map(route).collect();
    let stack = start_edge(json!({ "routes": routes, "upstream.timeout_ms": 60000 })).await;
    let server = Holding::start();
    let start = move || {
        let api = HELD_API.replace("SERVER_URL", &server.url);
        let own = OwnWorkerd::start(&stack, &[("api", &api)], |name, text| match name {
            "config.capnp" => {
                let binding = |name: &str| format!("(name = \"{name}\", service = \"api\"), ");
                let bindings: String = ["SERVICE", "VPC", "MTLS"].map(binding).concat();
                text.replacen("bindings = [", &format!("bindings = [{bindings}"), 1)
            }
            "policy.js" => KINDS.iter().fold(text, |text, (kind, upstream)| {
                text.replace(&format!("https://{kind}.invalid"), upstream)
            }),
            _ => text,
        });
        (stack, server, own)
    };
    let (stack, server, edge) = tokio::task::spawn_blocking(start).await.unwrap();
    let body = "a".repeat(300_000);
    for ((kind, _), base) in KINDS.iter().zip([
        "https://service.binding/service",
        "https://api.internal.example/vpc",
        "https://partner.example/v1/mtls",
    ]) {
        let request = client().put(edge.url(&format!("/{kind}/x?q=1"))).body(body.clone());
        let echo = request.send().await.unwrap();
        assert_eq!(echo.status(), 200, "{kind}: {}", edge.process.text());
        let echo: Value = echo.json().await.unwrap();
        let expect = json!({ "url": format!("{base}/x?q=1"), "method": "PUT", "length": 300_000 });
        assert_eq!(echo, expect);
    }
    let address = edge.url("").replace("http://", "");
    let work = move || {
        for (kind, _) in KINDS {
            // A stream in both directions: each part returns before the next one is sent.
            let head = format!("/{kind}/duplex HTTP/1.1\r\nhost: edge\r\n");
            let request = format!("POST {head}transfer-encoding: chunked\r\n\r\n4\r\none \r\n");
            let mut duplex = Raw::send(&address, &request);
            duplex.reads("one ");
            duplex.0.write_all(b"4\r\ntwo \r\n0\r\n\r\n").unwrap();
            duplex.reads("two ");
            Socket::open(&address, &format!("/{kind}/socket"), "none").echoes(b"hello");
            // A reset aborts the request of the API, before its response has begun and after.
            for path in ["silent", "begun"] {
                let place = format!("/{kind}/held/{path}");
                let head = format!("GET {place} HTTP/1.1\r\nhost: edge\r\n\r\n");
                let mut held = Raw::send(&address, &head);
                server.has_open(1, &place);
                if path == "begun" {
                    held.reads("begun");
                }
                held.reset();
                server.has_open(0, &place);
            }
        }
        edge
    };
    let edge = tokio::task::spawn_blocking(work).await.unwrap();
    drop(edge);
    stop(stack).await;
}
