//! Timeouts of the edge's calls, and streams that outlive them.

use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, client, field, get, raw_at};
use crate::support::issuer::{AUDIENCE, ISSUER, Issuer, claims, header};
use crate::support::provider::{Behaviour, Provider};
use crate::support::stack::{Stack, stop};
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

/// A dependency that hangs delays a request by its timeout, and not longer.
#[tokio::test]
async fn timeout_ends_every_wait() {
    // The system accepts connections; the test never does.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let vars = json!({
        "auth.url": url, "auth.timeout_ms": 400,
        "upstream.url": url, "upstream.timeout_ms": 500,
        "routes": [
            { "name": "auth", "path": "/auth/*", "access": "auth" },
            { "name": "public", "path": "/public", "access": "public" },
            { "name": "api", "path": "/api", "access": "protected" },
        ],
        "jwks.timeout_ms": 600,
        "issuers": [{
            "issuer": ISSUER, "audience": AUDIENCE,
            "algorithms": ["EdDSA"], "jwks_url": format!("{url}/jwks.json"),
        }],
    });
    let edge = tokio::task::spawn_blocking(|| Stack::start(&["--only", "edge"], Some(vars)))
        .await
        .unwrap();
    let timed = async |response: reqwest::RequestBuilder, status, code, deadline_ms| {
        let begun = Instant::now();
        assert_refused(response.send().await.unwrap(), status, code).await;
        let elapsed = begun.elapsed();
        let deadline = Duration::from_millis(deadline_ms);
        assert!(
            elapsed >= deadline && elapsed < deadline + Duration::from_secs(5),
            "{code}: {elapsed:?}"
        );
    };
    timed(client().post(edge.edge("/auth/login")).json(&json!({})), 503, "auth_timeout", 400).await;
    timed(get(&edge.edge("/public")), 504, "upstream_timeout", 500).await;
    let issuer = Issuer::new();
    let token = issuer.sign(&header(json!({})), &claims(json!({})));
    timed(get(&edge.edge("/api")).bearer_auth(&token), 503, "keys_unavailable", 600).await;

    // A client that stops in the middle of its body also runs into this timeout, with another code.
    let begun = Instant::now();
    let head = "POST /auth/login HTTP/1.1\r\nhost: edge\r\ncontent-length: 100\r\n\r\nhalf";
    let answer = tokio::task::spawn_blocking({
        let address = edge.fact("edge_url").trim_start_matches("http://").to_owned();
        move || raw_at(&address, head, "body_too_slow")
    });
    let answer = answer.await.unwrap();
    assert!(answer.contains("body_too_slow"), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    stop(edge).await;
}

/// An isolate may stand still, to collect garbage for example. A response that came meanwhile is
/// not late: a failed request would open a breaker, and a pause of one isolate refuse all others.
#[tokio::test]
async fn pause_of_the_isolate_is_no_timeout() {
    let late = Behaviour::Answer { status: 200, body: "late".into(), after_ms: 150 };
    let upstream = Provider::start(late);
    let never = Provider::start(Behaviour::Stalls);
    let stack = start_edge(json!({
        "upstream.timeout_ms": 400,
        "routes": [
            { "name": "late", "path": "/late", "access": "public", "upstream": upstream.url("") },
            { "name": "never", "path": "/never", "access": "public", "upstream": never.url("") },
        ],
    }))
    .await;
    assert_eq!(get(&stack.edge("/late")).send().await.unwrap().status(), 200);
    // Some pauses end when the timers are due or little later, and some long after that.
    // After the last one, a step has taken longer than that of a client that has left.
    let late = [310, 330, 340, 350, 360, 380, 700, 6000].map(|pause_ms| ("/late", pause_ms, 200));
    for (path, pause_ms, status) in late.into_iter().chain([("/never", 700, 504)]) {
        let send = || (0..20).map(|_| tokio::spawn(get(&stack.edge(path)).send()));
        let mut requests: Vec<_> = send().collect();
        tokio::time::sleep(Duration::from_millis(70)).await;
        stack.signal("edge", "-STOP");
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        // Some of these are read before the responses that came meanwhile.
        requests.extend(send());
        tokio::time::sleep(Duration::from_millis(20)).await;
        stack.signal("edge", "-CONT");
        let resumed = Instant::now();
        for request in requests {
            let answered = request.await.unwrap().unwrap().status();
            assert_eq!(answered, status, "{path} after a pause of {pause_ms} ms");
        }
        let elapsed = resumed.elapsed();
        println!("{path}: answered {elapsed:?} after a pause of {pause_ms} ms");
        assert!(elapsed < Duration::from_secs(2), "{path}: {elapsed:?}");
    }
    stop(stack).await;
}

/// The timeout covers the response's head; the body may take longer.
#[tokio::test]
async fn stream_outlives_the_timeout_and_redirect_is_forwarded() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let vars = json!({
        "upstream.url": format!("http://{}", listener.local_addr().unwrap()),
        "upstream.timeout_ms": 1000,
    });
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap_or(0);
            if String::from_utf8_lossy(&head[..length]).starts_with("GET /public/away") {
                let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                continue;
            }
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n",
            );
            for event in 0..4 {
                let _ = stream.write_all(format!("data: {event}\n\n").as_bytes());
                std::thread::sleep(Duration::from_millis(300));
            }
        }
    });
    let edge = tokio::task::spawn_blocking(|| Stack::start(&["--only", "edge"], Some(vars)))
        .await
        .unwrap();
    let response = get(&edge.edge("/public/events")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\n");
    let away = get(&edge.edge("/public/away")).send().await.unwrap();
    assert_eq!(
        (away.status().as_u16(), field(&away, "location").as_str()),
        (302, "http://127.0.0.1:1/")
    );
    stop(edge).await;
}
