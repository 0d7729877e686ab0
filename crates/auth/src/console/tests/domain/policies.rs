//! The policies of the edge, and explanations.

use super::{get, on_each};
use crate::series::policy_hash;
use serde_json::{Value, json};

/// Returns a policy document, as an edge reports it.
fn document() -> Value {
    json!({
        "store": { "url": "https://store.example" },
        "upstream": { "url": "https://upstream.example" },
        "issuers": [{ "issuer": "https://a.example", "audience": "api",
            "algorithms": ["EdDSA"], "jwks_url": "https://a.example/jwks" }],
        "routes": [
            { "name": "api", "path": "/api/*", "access": "protected", "scopes": ["read"],
              "limit": { "quota": 5, "window_seconds": 60, "by": "subject" } },
            { "name": "files", "path": "/files/*", "access": "public", "methods": ["GET"] },
        ],
    })
}

/// The hash of the document, and that of a text that is not a policy.
fn hashes() -> [String; 2] {
    [document().to_string(), BROKEN.to_owned()].map(|text| policy_hash(&text))
}

const BROKEN: &str = "{\"routes\":1}";

fn edge(at: u64, policy: &str) -> String {
    json!({ "at": at, "policy": policy, "colo": "AMS", "version": "0.1.0" }).to_string()
}

#[tokio::test]
async fn policies_of_edges_are_listed_and_shown() {
    on_each(async |console, browser, store| {
        let [hash, broken] = hashes();
        let now_ms = crate::clock::now().0 * 1000;
        assert_eq!(get(&console, &browser, "/policies").await["items"], json!([]));
        store.set(
            "pc:edges",
            json!([
                "AMS/a",
                edge(now_ms - 4, "old"),
                "AMS/b",
                edge(now_ms, &hash),
                "AMS/c",
                edge(now_ms - 2, &hash),
                "AMS/bad",
                "{",
                "AMS/path",
                edge(now_ms, "../x"),
                "AMS/gone",
                edge(now_ms - 3_601_000, "gone"),
            ]),
        );
        store.set(&format!("pc:policy:{hash}"), document().to_string().into());
        store.set(&format!("pc:policy:{broken}"), BROKEN.into());
        store.set("pc:policy:forged", document().to_string().into());
        let listed = get(&console, &browser, "/policies").await;
        let edge = |name: &str, at: u64| json!({ "name": name, "colo": "AMS", "at_ms": at });
        assert_eq!(
            listed["items"],
            json!([
                { "hash": hash, "edges": [edge("AMS/b", now_ms), edge("AMS/c", now_ms - 2)],
                  "edge_count": 2, "routes": 2 },
                { "hash": "old", "edges": [edge("AMS/a", now_ms - 4)], "edge_count": 1, "routes": null },
            ])
        );
        let policy = get(&console, &browser, &format!("/policies/{hash}")).await;
        assert_eq!(policy["document"], document());
        assert_eq!(
            policy["routes"],
            json!([
                { "name": "api", "path": "/api/*", "methods": [], "access": "protected",
                  "require": "record", "limits": ["api"], "scope": ["read"],
                  "scope_any": [], "upstream": "https://upstream.example" },
                { "name": "files", "path": "/files/*", "methods": ["GET"], "access": "public",
                  "require": null, "limits": [], "scope": [], "scope_any": [],
                  "upstream": "https://upstream.example" },
            ])
        );
        let unread = get(&console, &browser, &format!("/policies/{broken}")).await;
        assert_eq!(unread["routes"], Value::Null);
        // The text under this name has another hash.
        console.get(&browser, "/console/api/policies/forged").await.assert(404, "policy_unknown");
        console.get(&browser, "/console/api/policies/none").await.assert(404, "policy_unknown");
        console.get(&browser, "/console/api/policies/a%3Ab").await.assert(404, "policy_unknown");
        let large = "x".repeat(300_000);
        let path = format!("/console/api/policies/{}", policy_hash(&large));
        store.set(&format!("pc:policy:{}", policy_hash(&large)), large.into());
        console.get(&browser, &path).await.assert(404, "policy_unknown");
        store.set_down(true);
        console.get(&browser, "/console/api/policies").await.assert(503, "store_unavailable");
    })
    .await;
}

#[tokio::test]
async fn request_is_explained_without_a_token() {
    on_each(async |console, _, store| {
        let [hash, broken] = hashes();
        store.set(&format!("pc:policy:{hash}"), document().to_string().into());
        store.set(&format!("pc:policy:{broken}"), BROKEN.into());
        store.set("pc:policy:forged", document().to_string().into());
        let reader = console.browser("reader", "console:read").await;
        let path = format!("/console/api/policies/{hash}/explain");
        let ask = async |question: Value| console.call(&reader, "POST", &path, &question).await;
        let question = json!({ "method": "GET", "target": "/api/x?a=1",
            "headers": [["X-A", "b"]], "claims": { "scope": "read" } });
        let explained = ask(question.clone()).await;
        explained.assert(200, "");
        let explained = explained.json();
        let to = "the upstream, https://upstream.example/api/x?a=1";
        assert_eq!(explained["outcome"], json!({ "status": null, "code": null, "target": to }));
        assert!(explained["text"].as_str().unwrap().starts_with("GET /api/x?a=1\n"));
        assert!(
            explained["steps"][0]["name"].is_string() && explained["steps"][0]["text"].is_string()
        );
        assert!(explained["assumptions"].to_string().contains("the signature is good"));
        let mut over = question.clone();
        over["assume"] = json!(["over:api"]);
        assert_eq!(
            ask(over).await.json()["outcome"],
            json!({ "status": 429, "code": "rate_limited", "target": null })
        );
        let none = json!({ "method": "GET", "target": "/api/x", "country": "", "address": "" });
        assert_eq!(ask(none).await.json()["outcome"]["code"], "token_missing");
        let jwt = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2VjcmV0c2VjcmV0";
        for (member, value, code) in [
            ("headers", json!([["Authorization", "Bearer x"]]), "token_not_accepted"),
            ("headers", json!([["cookie", "a=b"]]), "token_not_accepted"),
            ("headers", json!([["x-a", jwt]]), "token_not_accepted"),
            ("target", json!(format!("/api/x?token={jwt}")), "token_not_accepted"),
            ("headers", json!([["a:b", "x"]]), "member_invalid"),
            ("headers", json!([["a", "x\r\ny"]]), "member_invalid"),
            ("headers", json!(vec![["a", "b"]; 101]), "member_invalid"),
            ("method", json!("GE T"), "member_invalid"),
            ("target", json!("api"), "member_invalid"),
            ("target", json!("/a b"), "member_invalid"),
            ("address", json!("here"), "member_invalid"),
            ("country", json!("germany"), "member_invalid"),
            ("assume", json!(["luck"]), "member_invalid"),
            ("assume", json!(vec!["revoked"; 21]), "member_invalid"),
            ("token", json!("x"), "request_malformed"),
        ] {
            let mut bad = question.clone();
            bad[member] = value;
            ask(bad).await.assert(400, code);
        }
        let mut large = question.clone();
        large["target"] = format!("/{}", "a".repeat(20_000)).into();
        ask(large).await.assert(413, "body_too_large");
        for (hash, status, code) in [
            ("none", 404, "policy_unknown"),
            ("forged", 404, "policy_unknown"),
            (broken.as_str(), 409, "policy_unreadable"),
        ] {
            let path = format!("/console/api/policies/{hash}/explain");
            console.call(&reader, "POST", &path, &question).await.assert(status, code);
        }
        let mut foreign = reader.clone();
        foreign.csrf = "x".into();
        console.call(&foreign, "POST", &path, &question).await.assert(403, "csrf_invalid");
        assert!(
            !store.has_seen("EVALSHA") && !store.has_seen("MGET"),
            "it asks no store of requests"
        );
    })
    .await;
}

/// The work for one question is bounded, whatever the policy.
#[tokio::test]
async fn explanation_of_the_largest_policy_is_soon_there() {
    on_each(async |console, browser, store| {
        let mut large = document();
        let routes: Vec<Value> = (0..4500)
            .map(|n| json!({ "name": format!("r{n}"), "path": format!("/{n}/*"), "access": "public" }))
            .collect();
        large["routes"] = routes.into();
        let text = large.to_string();
        assert!((150_000..262_144).contains(&text.len()), "{}", text.len());
        let path = format!("/console/api/policies/{}/explain", policy_hash(&text));
        store.set(&format!("pc:policy:{}", policy_hash(&text)), text.into());
        let question = json!({ "method": "GET", "target": "/4499/x" });
        let begun = std::time::Instant::now();
        console.call(&browser, "POST", &path, &question).await.assert(200, "");
        let took = begun.elapsed().as_millis();
        assert!(took < 8000, "{took} ms");
    })
    .await;
}
