//! The rate of changes by one caller at the management endpoints.

use super::clients::command;
use crate::support::http::{assert_refused, client, field};
use crate::support::stack::{Stack, stop};
use reqwest::{Method, Response};
use serde_json::{Value, json};

const SCOPE: &str = "api:read keys:manage clients:admin users:admin blocks:admin limits:admin";

/// Changes of every kind count together, by caller, and a refused one says when to come again.
/// Reading costs nothing, and so does a token that is not valid.
#[tokio::test]
async fn caller_that_changes_too_much_has_to_wait() {
    let stack = Stack::start_with_auth_env(&["MANAGEMENT_WRITES_PER_MINUTE=6"]).await;
    command(&stack, &["user", "set", "--username", stack.username(), "--scope", SCOPE]);
    let token = stack.login().await.access;
    let new = command(&stack, &["client", "create", "--name", "other", "--scope", SCOPE]);
    let send = async |token: &str, method: Method, path: &str, body: Value| -> Response {
        let request = client().request(method, stack.edge(path)).bearer_auth(token);
        let request = if body.is_null() { request } else { request.json(&body) };
        request.send().await.unwrap()
    };
    let (block, by) = ("/auth/blocks", json!([{ "part": "subject", "value": "x" }]));
    for _ in 0..20 {
        let refused = send("pca_wrong", Method::POST, block, json!({})).await;
        assert_refused(refused, 401, "access_token_invalid").await;
        assert_eq!(send(&token, Method::GET, block, Value::Null).await.status(), 200);
    }
    let quota = json!({ "limit": "api", "by": by, "quota": 5, "seconds": 60 });
    let credits = json!({ "limit": "api", "by": by, "credits": 5 });
    for (method, path, body, status) in [
        (Method::POST, "/auth/keys", json!({ "name": "a", "scope": "api:read" }), 201),
        (Method::POST, "/auth/clients", json!({ "name": "b" }), 201),
        (Method::PATCH, "/auth/users/none", json!({ "scope": "x" }), 404),
        (Method::POST, block, json!({ "subject": "x", "seconds": 60 }), 201),
        (Method::PUT, "/auth/limits", quota, 200),
        (Method::POST, "/auth/limits/credits", credits, 201),
    ] {
        assert_eq!(send(&token, method, path, body).await.status(), status, "{path}");
    }
    for (method, path) in [
        (Method::DELETE, "/auth/blocks?subject=x"),
        (Method::DELETE, "/auth/keys/none"),
        (Method::POST, "/auth/clients/none/roll"),
        (Method::DELETE, "/auth/users/none"),
    ] {
        let refused = send(&token, method, path, Value::Null).await;
        let wait: u64 = field(&refused, "retry-after").parse().unwrap();
        assert!((1..=10).contains(&wait), "{wait}");
        assert_refused(refused, 429, "writes_throttled").await;
    }
    assert_eq!(send(&token, Method::GET, block, Value::Null).await.status(), 200);

    // Another caller has a rate of its own.
    let text = |name: &str| new[name].as_str().unwrap();
    let request = client().post(stack.edge("/oauth/token"));
    let request = request.basic_auth(text("client_id"), Some(text("client_secret")));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let granted = request.body("grant_type=client_credentials").send().await.unwrap();
    let granted: Value = granted.json().await.unwrap();
    let other = granted["access_token"].as_str().unwrap();
    let cleared = send(other, Method::DELETE, "/auth/blocks?subject=x", Value::Null).await;
    assert_eq!(cleared.status(), 204);

    // The refused caller may make a change as soon as `Retry-After` says.
    let refused = send(&token, Method::DELETE, "/auth/keys/none", Value::Null).await;
    let wait: u64 = field(&refused, "retry-after").parse().unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    let passed = send(&token, Method::DELETE, "/auth/keys/none", Value::Null).await;
    assert_refused(passed, 404, "api_key_unknown").await;
    stop(stack).await;
}
