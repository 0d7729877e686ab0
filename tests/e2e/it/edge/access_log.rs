//! The lines of the log, by which an operator can explain a refusal without the token.

use crate::support::edge::start_edge;
use crate::support::http::get;
use crate::support::issuer::{ISSUER, TRUSTED, claims, header, issuer_at, now, serve};
use crate::support::stack::{SHARED, Stack, stop};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn start(more: Value) -> Stack {
    let mut vars = json!({
        "issuers": [issuer_at(&serve(TRUSTED.jwks()))],
        "routes": [
            { "name": "admin", "path": "/api/admin", "access": "protected", "require": "not_revoked", "scopes": ["admin"], "suffixes": "same" },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
        ],
    });
    vars.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    start_edge(vars).await
}

/// Sends a request, and returns its line of the log.
async fn line(stack: &Stack, path: &str, token: &str) -> Value {
    let request = get(&stack.edge(path)).header("cf-connecting-ip", "2001:db8:1:2:3:4:5:6");
    let response = request.bearer_auth(token).send().await.unwrap();
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let headers = &body["headers"];
    let id = body["request_id"].as_str().or(headers["x-request-id"].as_str()).unwrap();
    let begun = Instant::now();
    loop {
        let log = stack.log("edge");
        let mut lines = log.lines().filter(|line| line.contains("\"event\":\"request\""));
        if let Some(line) = lines.find(|line| line.contains(id)) {
            return serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn sign(changes: Value) -> String {
    TRUSTED.sign(&header(json!({})), &claims(changes))
}

#[tokio::test]
async fn refusal_is_logged_with_what_explains_it() {
    let stack = start(json!({})).await;
    let other_audience = sign(json!({ "aud": ["https://other.example", "urn:x"] }));
    let logged = line(&stack, "/api/x/y?secret=hunter2", &other_audience).await;
    assert_eq!(logged["code"], "audience_mismatch", "{logged}");
    assert_eq!(logged["iss"], ISSUER, "{logged}");
    assert_eq!(logged["aud"], r#"["https://other.example","urn:x"]"#, "{logged}");
    assert_eq!(logged["path"], "/api/x/y", "{logged}");
    assert_eq!(logged["address"], "2001:db8:1:2::/64", "{logged}");
    assert!(logged["subject"].is_null(), "off by default: {logged}");

    let long = sign(json!({ "iss": "x".repeat(1000), "aud": "\u{e9}".repeat(1000) }));
    let logged = line(&stack, "/api/x", &long).await;
    assert_eq!(logged["code"], "issuer_unknown", "{logged}");
    for name in ["iss", "aud"] {
        let text = logged[name].as_str().unwrap();
        assert!((100..=256).contains(&text.len()), "{logged}");
    }

    for (claim, kind) in [("jti", "jti"), ("sid", "sid"), ("sub", "sub"), ("client_id", "client")] {
        let value = format!("log-{claim}-{}-{}", std::process::id(), now());
        let keys = portcullis_core::StoreKeys::new("pc");
        let key = match kind {
            "jti" => keys.revoked_jti(ISSUER, &value),
            "sid" => keys.revoked_sid(ISSUER, &value),
            "sub" => keys.revoked_sub(ISSUER, &value),
            _ => keys.revoked_client(ISSUER, &value),
        };
        SHARED.put(&key, &(now() + 1).to_string()).await;
        let token = sign(json!({ claim: value }));
        // From the store, and then from the isolate's cache.
        for _ in 0..2 {
            let logged = line(&stack, "/api/x", &token).await;
            assert_eq!(logged["code"], "token_revoked", "{logged}");
            assert_eq!(logged["marker"], kind, "{logged}");
        }
    }
    let good = sign(json!({}));
    let logged = line(&stack, "/api/x?token=hunter2", &good).await;
    assert_eq!((&logged["code"], &logged["path"]), (&Value::Null, &json!("/api/x")), "{logged}");
    assert!(logged["iss"].is_null() && logged["marker"].is_null(), "{logged}");
    let logged = line(&stack, "/elsewhere", &good).await;
    assert_eq!(
        (&logged["code"], &logged["path"]),
        (&json!("route_not_found"), &json!("/elsewhere"))
    );
    assert_eq!(logged["address"], "2001:db8:1:2::/64", "{logged}");

    let log = stack.log("edge");
    assert!(!log.contains("hunter2"), "a query is logged");
    for token in [&other_audience, &long, &good] {
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert!(!log.contains(&signature[..16]), "a token is logged");
    }
    stop(stack).await;
}

#[tokio::test]
async fn subject_is_logged_as_configured() {
    let keys = portcullis_core::StoreKeys::new("pc");
    let hash = keys.revoked_sub(ISSUER, "alice").rsplit_once(':').unwrap().1.to_owned();
    for (setting, expect) in [("hash", hash), ("plain", "alice".to_owned())] {
        let stack = start(json!({ "logging.subject": setting })).await;
        let good = sign(json!({}));
        assert_eq!(line(&stack, "/api/x", &good).await["subject"], expect);
        assert_eq!(line(&stack, "/api/x", &good).await["subject"], expect, "from the cache");
        let refused = line(&stack, "/api/admin", &good).await;
        assert_eq!(refused["code"], "scope_insufficient");
        assert_eq!(refused["subject"], expect, "{refused}");
        stop(stack).await;
    }
}
