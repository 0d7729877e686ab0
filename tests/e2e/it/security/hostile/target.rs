//! An edge under attack, and the upstream that records what reaches it.

use crate::support::edge::launch_edge;
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header};
use crate::support::provider::Provider;
use crate::support::stack::Stack;
use serde_json::json;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// An edge whose upstream records its requests.
pub struct Target {
    pub stack: Stack,
    pub upstream: Provider,
    pub tried: usize,
}

impl Target {
    pub fn start() -> Self {
        let upstream = Provider::serving("{}");
        let stack = launch_edge(json!({
            "issuers": [
                { "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks() },
            ],
            "routes": [
                { "name": "public", "path": "/public/*", "access": "public" },
                { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
            ],
            "upstream.url": upstream.url(""),
        }));
        Self { stack, upstream, tried: 0 }
    }

    /// Sends raw bytes, and returns the response until the connection ends.
    pub fn send(&mut self, request: &[u8]) -> String {
        self.tried += 1;
        let address = self.stack.edge("").trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        // The edge may close the connection before it has read all.
        let _ = stream.write_all(request);
        let (mut answer, mut chunk, begun) = (Vec::new(), [0; 16384], Instant::now());
        while begun.elapsed() < Duration::from_secs(5) {
            match stream.read(&mut chunk) {
                Ok(read) if read > 0 => answer.extend_from_slice(&chunk[..read]),
                Ok(_) | Err(_) => break,
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Returns the status and the code of a rejection, or `200`.
    pub fn verdict(&mut self, path: &str, authorization: &[u8]) -> String {
        let mut request = format!("GET {path} HTTP/1.1\r\nhost: a.example\r\n").into_bytes();
        request.extend_from_slice(authorization);
        request.extend_from_slice(b"connection: close\r\n\r\n");
        let answer = self.send(&request);
        let status = answer.split(' ').nth(1).unwrap_or("closed").to_owned();
        let code = answer.split("\"code\":\"").nth(1).and_then(|rest| rest.split('"').next());
        match code {
            Some(code) => format!("{status} {code}"),
            None => status,
        }
    }

    pub fn verdict_on(&mut self, token: &str) -> String {
        self.verdict("/api/x", format!("authorization: Bearer {token}\r\n").as_bytes())
    }

    /// Asserts that a token is rejected with this code and that nothing reaches the upstream.
    #[track_caller]
    pub fn refuses(&mut self, reference: &str, token: &str, expect: &str) {
        let got = self.verdict_on(token);
        assert_eq!(got, expect, "{reference}: {token}");
        assert_eq!(self.upstream.take(), [""; 0], "{reference}");
    }

    /// Asserts that nothing harmful reaches the upstream, for any response.
    #[track_caller]
    pub fn harmless(&mut self, reference: &str, request: &[u8]) {
        let answer = self.send(request);
        for seen in self.upstream.take() {
            let path = seen.split(' ').nth(1).unwrap_or_default().to_lowercase();
            let shown =
                || format!("{reference}: {}: {seen}: {answer}", String::from_utf8_lossy(request));
            let mut plain = path.clone();
            for _ in 0..3 {
                for (encoded, decoded) in
                    [("%2e", "."), ("%2f", "/"), ("%5c", "/"), ("%25", "%"), ("\\", "/")]
                {
                    plain = plain.replace(encoded, decoded);
                }
            }
            let path_only = plain.split(['?', '#']).next().unwrap_or_default();
            assert!(path.starts_with("/public/") || path == "/public", "{}", shown());
            assert!(!path_only.contains("..") && !path_only.contains("/api"), "{}", shown());
            assert!(!seen.to_lowercase().contains("mallory"), "{}", shown());
        }
        // Other requests are not affected.
        let good = TRUSTED.sign(&header(json!({})), &claims(json!({})));
        let tried = self.tried;
        assert_eq!(self.verdict_on(&good), "200", "{reference}: the edge is not well afterwards");
        self.tried = tried;
        self.upstream.take();
    }
}

pub fn on_target(work: impl FnOnce(&mut Target) + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        let mut target = Target::start();
        work(&mut target);
        println!("{} attacks", target.tried);
    })
}

pub const MALFORMED: &str = "401 token_malformed";
pub const MISSING: &str = "401 claim_missing";
pub const ALGORITHM: &str = "401 algorithm_refused";
pub const SIGNATURE: &str = "401 signature_invalid";
pub const TYPE: &str = "401 token_type_refused";
pub const KEY: &str = "401 key_unknown";
