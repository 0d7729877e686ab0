//! The auth service as a server: its bounds, TLS, shutdown, errors and the admin listener.

use crate::support::auth_service::AuthService;
use crate::support::http::{client, field, get, post, raw_at};
use crate::support::silent;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn credentials(password: &str) -> Value {
    json!({ "username": AuthService::USERNAME, "password": password })
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_the_request_id_of_their_log_line() {
    let auth = AuthService::start(&[]);
    let send = async |path: &str, id: &str, body: Value| {
        let request = client().post(auth.at(path)).header("x-request-id", id).json(&body);
        let response = request.send().await.unwrap();
        let header = field(&response, "x-request-id");
        (header, response.json::<Value>().await.unwrap())
    };
    for (path, id, body, code) in [
        ("/auth/login", "a-1", credentials("wrong password"), "credentials_invalid"),
        ("/auth/login", "a-2", json!([]), "request_malformed"),
        ("/oauth/revoke", "a-3", json!({ "token": 1 }), "request_malformed"),
        ("/oauth/token", "a-4", json!({}), "request_malformed"),
        ("/auth/refresh", "a-5", json!({ "refresh_token": "x" }), "refresh_token_invalid"),
        ("/nowhere", "a-6", json!({}), "not_found"),
    ] {
        let (header, answer) = send(path, id, body).await;
        assert_eq!(answer["request_id"], id, "{path}: {answer}");
        assert_eq!((header.as_str(), &answer["code"]), (id, &json!(code)), "{path}");
        let log = auth.process.says(&format!("\"request_id\":\"{id}\"")).await;
        let logged = log.lines().filter(|line| line.contains("\"event\":\"request\""));
        let logged: Vec<Value> = logged.map(|line| serde_json::from_str(line).unwrap()).collect();
        let line = logged.iter().find(|line| line["request_id"] == id).unwrap();
        assert_eq!((&line["code"], &line["path"]), (&json!(code), &json!(path)), "{line}");
    }
    // A missing or too long id is replaced.
    let (header, answer) = send("/nowhere", &"x".repeat(65), json!({})).await;
    assert!(!header.is_empty() && header.len() <= 64, "{header}");
    assert_eq!(answer["request_id"], header);
    let response = get(&auth.at("/.well-known/jwks.json")).send().await.unwrap();
    assert!(!field(&response, "x-request-id").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_are_closed_and_keep_no_user_out() {
    let secret = "a-secret-of-thirty-two-characters";
    let clients = format!("edge={secret}");
    let settings = [("AUTH_CONNECTIONS_MAX", "16"), ("INTROSPECTION_CLIENTS", clients.as_str())];
    let auth = AuthService::start(&settings);
    let metadata = auth.at("/.well-known/jwks.json");
    // A client of introspection authenticates its network. A user's login does not.
    assert_eq!(post(&auth.at("/auth/login"), credentials("password")).await.status(), 200);
    let introspection = client().post(auth.at("/oauth/introspect"));
    let introspection = introspection.basic_auth("edge", Some(secret));
    let form = "application/x-www-form-urlencoded";
    let introspection = introspection.header("content-type", form).body("token=unknown");
    assert_eq!(introspection.send().await.unwrap().status(), 200);
    let mut all = Vec::new();
    for network in 8..72 {
        all.extend(silent::open(&auth.url, [127, 0, network, 1], 1).await);
    }
    assert_eq!(silent::get_from(&metadata, [127, 0, 0, 1], "").await, Ok(200), "known");
    assert_eq!(silent::get_from(&metadata, [127, 0, 2, 1], "").await, Ok(200), "new");
    // Half a head is not a request.
    let mut half = TcpStream::connect(auth.address()).unwrap();
    half.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost:").unwrap();
    let begun = Instant::now();
    let closed = silent::closed_after(&mut all).await;
    assert!(closed < Duration::from_secs(12), "{closed:?}");
    let _ = half.read_to_end(&mut Vec::new());
    assert!(begun.elapsed() < Duration::from_secs(14), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn body_that_trickles_ends_with_408_and_the_connection() {
    let auth = AuthService::start(&[]);
    let address = auth.address().to_owned();
    let trickle = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let head = "POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                    content-length: 100\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let (begun, mut answer, mut chunk) = (Instant::now(), Vec::new(), [0; 4096]);
        while begun.elapsed() < Duration::from_secs(20) {
            let _ = stream.write_all(b" ");
            match stream.read(&mut chunk) {
                Ok(0) => break,
                Ok(read) => answer.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        (String::from_utf8_lossy(&answer).into_owned(), begun.elapsed())
    });
    let (answer, elapsed) = trickle.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("body_too_slow") && answer.contains("connection: close"), "{answer}");
    assert!((9..14).contains(&elapsed.as_secs()), "{elapsed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_heads_are_rejected() {
    let auth = AuthService::start(&[]);
    let get = |field: String| format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{field}\r\n\r\n");
    let small = raw_at(auth.address(), &get("connection: close".into()), "\0");
    assert!(small.starts_with("HTTP/1.1 200"), "{small}");
    let large = raw_at(auth.address(), &get(format!("x: {}", "y".repeat(100_000))), "\0");
    assert!(large.starts_with("HTTP/1.1 431") || large.is_empty(), "{large}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_admin_listener_serves_readiness_and_metrics() {
    let auth = AuthService::start(&[]);
    let status = async |url: &str| get(url).send().await.unwrap().status().as_u16();
    for path in ["/readyz", "/metrics"] {
        assert_eq!(status(&auth.at(path)).await, 404, "{path}");
    }
    assert_eq!(status(&auth.at("/healthz")).await, 200);
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(status(&format!("{}{path}", auth.admin_url)).await, 200, "{path}");
    }
    assert_eq!(status(&format!("{}/.well-known/jwks.json", auth.admin_url)).await, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_is_used_and_reloaded_on_sighup() {
    let folder = crate::support::process::Folder::new();
    let make = || {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        folder.write("cert.pem", &cert.pem());
        folder.write("key.pem", &signing_key.serialize_pem());
        cert.pem()
    };
    let first = make();
    let (cert, key) = (folder.file("cert.pem"), folder.file("key.pem"));
    let auth = AuthService::start(&[
        ("AUTH_TLS_CERT_FILE", cert.to_str().unwrap()),
        ("AUTH_TLS_KEY_FILE", key.to_str().unwrap()),
    ]);
    let port = auth.address().rsplit(':').next().unwrap().to_owned();
    let send = async |trusted: &str| {
        let certificate = reqwest::Certificate::from_pem(trusted.as_bytes()).unwrap();
        let client =
            reqwest::Client::builder().no_proxy().tls_certs_only([certificate]).build().unwrap();
        let response = client.get(format!("https://localhost:{port}/healthz")).send().await;
        response.map(|response| response.status().as_u16())
    };
    assert_eq!(send(&first).await.unwrap(), 200);
    let second = make();
    assert!(send(&second).await.is_err(), "not yet");
    auth.process.signal("-HUP");
    let begun = Instant::now();
    while send(&second).await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5), "{}", auth.process.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(send(&first).await.is_err());
    // An unreadable certificate changes nothing.
    folder.write("cert.pem", "nothing");
    auth.process.signal("-HUP");
    auth.process.says("AUTH_TLS_CERT_FILE").await;
    assert_eq!(send(&second).await.unwrap(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_ends_at_its_deadline() {
    let mut auth = AuthService::start(&[("AUTH_DRAIN_SECONDS", "2")]);
    let mut slow = TcpStream::connect(auth.address()).unwrap();
    let head = "POST /auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n";
    slow.write_all(head.as_bytes()).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let begun = Instant::now();
    auth.process.signal("-TERM");
    assert_eq!(auth.process.ended(20), Some(0));
    let elapsed = begun.elapsed();
    assert!((1500..6000).contains(&elapsed.as_millis()), "{elapsed:?}");
    assert!(auth.process.text().contains("drain_cut_short"), "{}", auth.process.text());
}
