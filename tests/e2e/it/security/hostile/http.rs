//! Paths, names and framing.

use super::target::on_target;
use crate::support::issuer::{TRUSTED, claims, header};
use crate::support::provider::{Behaviour, answer};
use serde_json::json;

#[tokio::test]
async fn http_tricks_do_not_reach_the_upstream() {
    on_target(|target| {
        let get = |path: &str, fields: &str| {
            format!("GET {path} HTTP/1.1\r\nhost: a.example\r\n{fields}connection: close\r\n\r\n")
                .into_bytes()
        };
        // Reaching a protected path through a public one (RFC 3986 section 6, CVE-2021-43798 and
        // similar).
        for path in [
            "/public/../api/x", "/public/..%2fapi/x", "/public/%2e%2e/api/x", "/public/%2e%2e%2fapi/x",
            "/public/.%2e/api/x", "/public/..;/api/x", "/public;/../api/x", "/public/..%5capi%5cx",
            "/public/..\\api\\x", "/public\\..\\api\\x", "/public/%5c../api/x", "//api/x", "/public//../api/x",
            "///api/x", "/./api/x", "/api/./x", "/api/x/..", "/API/x", "/%61pi/x", "/%41PI/x", "/api%2fx",
            "/api%252fx", "/public/%252e%252e/api/x", "/public/%25%32%65%25%32%65/api/x",
            "/public/%c0%ae%c0%ae/api/x", "/public/%e0%80%ae%e0%80%ae/api/x", "/public/%u002e%u002e/api/x",
            "/public/%ef%bc%8e%ef%bc%8e/api/x", "/public/%00/../api/x", "/public%00/../api/x", "/api/x%00",
            "/api/x%0a", "/api/x%20", "/api/x/", "/api/x;a=b", "/api;/x", "/api/%2e/x", "/public/.",
            "/public/%2e", "/public/..", "/..", "/public/x?/../../api/x", "/public/x?%2e%2e/api", "/public/x#/../api/x",
            "/public/%", "/public/%2", "/public/%zz", "http://a.example/api/x", "http://a.example/public/../api/x",
            "https://evil.example/api/x", "//evil.example/api/x", "/public/@evil.example/../api", "*", "api/x", "",
            "/public/\u{e9}/../api/x", "/public/x\t/../api/x", "/public/x HTTP/1.1\r\nx-y: z\r\n\r\nGET /api/x",
        ] {
            target.harmless("RFC 3986 6.2", &get(path, ""));
        }
        // Forged identity headers (CVE-2021-41773's proxies, CVE-2023-25690, header confusion).
        for name in [
            "Portcullis-Subject", "portcullis-subject", "PORTCULLIS-SUBJECT", "Portcullis_Subject",
            "portcullis_subject", "Portcullis.Subject", "portcullis~scope", "x.portcullis.subject",
            "X-Forwarded.For", "X-Portcullis-Subject", "x_portcullis_subject", "Portcullis-Scope",
            "Portcullis-Session", "Portcullis-Client", "Portcullis-Assertion", "Portcullis-Anything",
            "X-Forwarded-For", "X_Forwarded_For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix",
            "Forwarded", "X-Real-IP", "True-Client-IP", "X-Client-IP", "X-Cluster-Client-IP", "X-Original-URL",
            "X-Rewrite-URL", "X-HTTP-Method-Override", "X-Request-Id", "X_Request_Id", "Proxy-Authorization",
        ] {
            target.harmless("CWE-290", &get("/public/x", &format!("{name}: mallory\r\n")));
            let listed = format!("connection: {name}\r\n{name}: mallory\r\n");
            target.harmless("CVE-2022-1388", &get("/public/x", &listed));
        }
        // Framing (RFC 9112, the request smuggling of CVE-2005-2088 to CVE-2023-25725).
        let inner = "GET /api/x HTTP/1.1\r\nhost: a.example\r\nportcullis-subject: mallory\r\n\r\n";
        let post = |fields: &str, body: &str| {
            format!("POST /public/x HTTP/1.1\r\nhost: a.example\r\n{fields}\r\n{body}").into_bytes()
        };
        let (length, chunked) = (inner.len(), "transfer-encoding: chunked\r\n");
        let whole = format!("0\r\n\r\n{inner}");
        for (reference, request) in [
            ("RFC 9112 6.1", post(&format!("content-length: 4\r\n{chunked}"), &whole)),
            ("RFC 9112 6.1", post(&format!("{chunked}content-length: {}\r\n", whole.len()), &whole)),
            ("RFC 9112 6.1", post("transfer-encoding: xchunked\r\n", &whole)),
            ("RFC 9112 6.1", post("transfer-encoding: chunked, identity\r\n", &whole)),
            ("RFC 9112 6.1", post("transfer-encoding: identity, chunked\r\n", &whole)),
            ("RFC 9112 6.1", post("transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n", &whole)),
            ("RFC 9112 6.1", post("transfer-encoding : chunked\r\n", &whole)),
            ("RFC 9112 5.1", post("transfer-encoding\t: chunked\r\n", &whole)),
            ("RFC 9112 6.1", post("transfer-encoding:\u{b}chunked\r\n", &whole)),
            ("RFC 9112 6.1", post("transfer-encoding: \"chunked\"\r\n", &whole)),
            ("RFC 9112 5.2", post("transfer-encoding:\r\n chunked\r\n", &whole)),
            ("RFC 9112 6.1", post("x: y\ntransfer-encoding: chunked\r\n", &whole)),
            ("RFC 9112 6.3", post(&format!("content-length: 0\r\ncontent-length: {length}\r\n"), inner)),
            ("RFC 9112 6.3", post(&format!("content-length: 0, {length}\r\n"), inner)),
            ("CVE-2018-7159", post(&format!("content-length: 0 {length}\r\n"), inner)),
            ("CVE-2020-8287", post("content-length: +0\r\n", inner)),
            ("RFC 9112 6.3", post("content-length: -1\r\n", inner)),
            ("RFC 9112 6.3", post("content-length: 0x10\r\n", inner)),
            ("RFC 9112 6.3", post("content-length: 99999999999999999999\r\n", inner)),
            ("RFC 9112 6.3", post("content-length: \r\n", inner)),
            ("RFC 9112 7.1", post(chunked, &format!("ffffffffffffffff1\r\n{inner}"))),
            ("RFC 9112 7.1", post(chunked, &format!("-1\r\n{inner}"))),
            ("RFC 9112 7.1", post(chunked, &format!("0x1\r\nx\r\n0\r\n\r\n{inner}"))),
            ("RFC 9112 7.1", post(chunked, &format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(70_000)))),
            ("RFC 9112 7.1", post(chunked, &format!("1\nx\n0\n\n{inner}"))),
            ("RFC 9112 7.1.2", post(chunked, "0\r\nportcullis-subject: mallory\r\n\r\n")),
            ("RFC 9110 9.3.1", get("/public/x", &format!("content-length: {length}\r\n")).into_iter().chain(inner.bytes()).collect()),
            ("RFC 9110 10.1.1", post("content-length: 1\r\nexpect: 999-teapot\r\n", "x")),
            ("RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
            ("RFC 9110 7.8", get("/public/x", "upgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\nconnection: upgrade, http2-settings\r\n")),
            ("RFC 9112 3.2", b"GET /api/x HTTP/1.1\r\n\r\n".to_vec()),
            ("RFC 9112 3.2", b"GET /public/x HTTP/1.1\r\nhost: a.example\r\nhost: mallory.example\r\n\r\n".to_vec()),
            ("RFC 9112 3.2", b"GET /public/x HTTP/1.1\r\nhost: a.example@mallory\r\n\r\n".to_vec()),
            ("RFC 9112 3", b"GET /api/x\r\n\r\n".to_vec()),
            ("RFC 9112 2.3", b"GET /api/x HTTP/9.9\r\nhost: a\r\n\r\n".to_vec()),
            ("RFC 9112 3", b"GET  /api/x HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
            ("RFC 9112 3", b"GET\t/api/x\tHTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
            ("RFC 9112 2.2", b"\r\n\r\nGET /api/x HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
            ("RFC 9112 2.2", b"GET /api/x HTTP/1.1\nhost: a\n\n".to_vec()),
            ("RFC 9112 2.2", b"GET /api/x HTTP/1.1\rhost: a\r\r".to_vec()),
            ("RFC 9110 9.1", b"get /api/x HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
            ("RFC 9110 9.1", b"G\0T /api/x HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
            ("RFC 9110 9.3.8", b"TRACE /api/x HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
            ("RFC 9110 9.3.6", b"CONNECT mallory.example:443 HTTP/1.1\r\nhost: mallory.example:443\r\n\r\n".to_vec()),
            ("RFC 9110 9.1", b"PROPFIND /api/x HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
            ("RFC 9110 5.5", b"GET /public/x HTTP/1.1\r\nhost: a\r\nx: a\0mallory\r\n\r\n".to_vec()),
            ("RFC 9110 5.1", b"GET /public/x HTTP/1.1\r\nhost: a\r\nportcullis-subject : mallory\r\n\r\n".to_vec()),
            ("RFC 9110 5.1", b"GET /public/x HTTP/1.1\r\nhost: a\r\nportcullis subject: mallory\r\n\r\n".to_vec()),
            ("RFC 9110 5.1", b"GET /public/x HTTP/1.1\r\nhost: a\r\n: mallory\r\n\r\n".to_vec()),
            ("RFC 9112 5.2", b"GET /public/x HTTP/1.1\r\nhost: a\r\nx: y\r\n portcullis-subject: mallory\r\n\r\n".to_vec()),
            ("RFC 9110 5.4", get("/public/x", &"x: y\r\n".repeat(5000))),
            ("RFC 9110 5.4", get("/public/x", &format!("x: {}\r\n", "y".repeat(200_000)))),
            ("RFC 9112 3", get(&format!("/api/{}", "x".repeat(100_000)), "")),
            ("RFC 9112 2", vec![0; 4096]),
            ("RFC 8446", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ] {
            target.harmless(reference, &request);
        }
        assert!(target.tried >= 160, "{}", target.tried);

        // The platform opens a WebSocket with GET, which would bypass a route for another method.
        for method in ["OPTIONS", "POST", "HEAD", "DELETE"] {
            let request = format!(
                "{method} /public/x HTTP/1.1\r\nhost: a.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            );
            target.send(request.as_bytes());
            for seen in target.upstream.take() {
                assert!(seen.starts_with(&format!("{method} /public/x ")), "{method}: {seen}");
                assert!(!seen.to_lowercase().contains("upgrade"), "{method}: {seen}");
            }
        }
        // An invalid status is forwarded or rejected, and breaks nothing.
        target.upstream.behave(Behaviour::Raw(b"HTTP/1.1 999 X\r\ncontent-length: 2\r\n\r\nok".to_vec()));
        let odd = target.verdict("/public/x", b"");
        assert!(odd == "999" || odd.starts_with("502"), "{odd}");
        target.upstream.behave(answer(200, "{}"));
        assert_eq!(target.verdict("/public/x", b""), "200");
        target.upstream.take();

        // A claim that tries to inject a header (CWE-113) arrives encoded.
        let injection = claims(json!({ "sub": "al\r\nportcullis-scope: admin\r\n\r\nGET /api" }));
        let token = TRUSTED.sign(&header(json!({})), &injection);
        assert_eq!(target.verdict_on(&token), "200");
        let seen = target.upstream.take().concat().to_lowercase();
        assert!(seen.contains("portcullis-subject: al%0d%0aportcullis-scope: admin%0d%0a%0d%0aget /api\r\n"), "{seen}");
        assert_eq!(seen.matches("\r\nportcullis-scope:").count(), 1, "{seen}");
    })
    .await
    .unwrap();
}
