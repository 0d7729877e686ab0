//! Who may act, and what an action must have.

use super::{get, on_each};
use serde_json::json;

const ACTIONS: [(&str, &str); 23] = [
    ("POST", "/limits/override"),
    ("DELETE", "/limits/override"),
    ("POST", "/limits/credits"),
    ("POST", "/blocks"),
    ("DELETE", "/blocks"),
    ("POST", "/users/u/disable"),
    ("POST", "/users/u/enable"),
    ("POST", "/users/u/sessions/end"),
    ("POST", "/users/u/claims"),
    ("DELETE", "/users/u"),
    ("POST", "/sessions/s/end"),
    ("POST", "/keys"),
    ("PATCH", "/keys/k"),
    ("POST", "/keys/k/roll"),
    ("POST", "/keys/k/revoke"),
    ("POST", "/clients"),
    ("PATCH", "/clients/c"),
    ("POST", "/clients/c/roll"),
    ("POST", "/clients/c/revoke-tokens"),
    ("DELETE", "/clients/c"),
    ("POST", "/signing-keys/rotate"),
    ("POST", "/policies/h/explain"),
    ("POST", "/session"),
];

const LISTS: [&str; 9] = [
    "/users",
    "/sessions",
    "/keys",
    "/clients",
    "/signing-keys",
    "/usage",
    "/audit",
    "/blocks",
    "/policies",
];

#[tokio::test]
async fn each_action_needs_the_scope_the_token_and_a_reason() {
    on_each(async |console, browser, store| {
        store.set("pc:edges", json!([]));
        let reader = console.browser("reader", "console:read").await;
        for (method, path) in ACTIONS {
            let path = format!("/console/api{path}");
            if path.ends_with("/explain") || path.ends_with("/session") {
                continue;
            }
            let whole = json!({ "reason": "x" });
            let reply = console.call(&reader, method, &path, &whole).await;
            reply.assert(403, "scope_insufficient");
            let mut other = browser.clone();
            other.csrf = reader.csrf.clone();
            console.call(&other, method, &path, &whole).await.assert(403, "csrf_invalid");
            for reason in [json!({}), json!({ "reason": "" }), json!({ "reason": "a\nb" })] {
                let reply = console.call(&browser, method, &path, &reason).await;
                reply.assert(400, "reason_missing");
            }
            let unknown = json!({ "reason": "x", "surplus": 1 });
            let reply = console.call(&browser, method, &path, &unknown).await;
            assert!((400..500).contains(&reply.status.as_u16()), "{method} {path}");
        }
        for path in LISTS {
            get(&console, &reader, path).await;
            let request = axum::http::Request::get(format!("/console/api{path}"));
            let request = request.body(axum::body::Body::empty()).unwrap();
            console.send(request).await.assert(401, "session_missing");
        }
        let failed = "SELECT COUNT(*) FROM audit WHERE reason <> ''";
        assert_eq!(console.sql(failed).await, 0, "nothing was done");
    })
    .await;
}
