//! A system with a strict auth service, and further edges before the same parts.

use crate::support::edge::start_edge;
use crate::support::http::post;
use crate::support::stack::Stack;
use reqwest::Response;
use serde_json::{Value, json};

const STRICT: [&str; 2] = ["--auth-env", "REFRESH_GRACE_SECONDS=0"];

pub fn routes() -> Value {
    json!([
        { "name": "refresh", "path": "/auth/refresh", "access": "auth", "endpoint": "token" },
        { "name": "token", "path": "/oauth/token", "access": "auth", "endpoint": "token" },
        { "name": "logout", "path": "/auth/logout", "access": "auth", "endpoint": "revocation" },
        { "name": "revoke", "path": "/oauth/revoke", "access": "auth", "endpoint": "revocation" },
        { "name": "auth", "path": "/auth/*", "access": "auth" },
        { "name": "api", "path": "/api/*", "access": "protected" },
    ])
}

pub async fn start(options: &'static [&'static str]) -> Stack {
    let vars = json!({ "store.timeout_ms": 3000, "routes": routes() });
    let options = [&STRICT, options].concat();
    tokio::task::spawn_blocking(move || Stack::start(&options, Some(vars))).await.unwrap()
}

/// Starts another isolate with the same store and upstream, and with the auth service at `auth`.
pub async fn another(stack: &Stack, auth: &str, more: Value) -> Stack {
    let mut vars = json!({
        "store.url": stack.fact("store_url"), "STORE_TOKEN": stack.fact("edge_store_token"),
        "upstream.url": stack.fact("upstream_url"), "auth.url": auth, "routes": routes(),
        "issuers": [{
            "issuer": stack.fact("edge_url"), "audience": "https://api.example", "algorithms": ["EdDSA"],
            "jwks_url": format!("{}/.well-known/jwks.json", stack.fact("auth_url")),
        }],
    });
    vars.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    start_edge(vars).await
}

/// Returns the number of refreshes at the auth service.
pub async fn done(stack: &Stack) -> u64 {
    let name = "portcullis_auth_outcomes_total";
    stack.metric("auth_url", name, "endpoint=\"refresh\",outcome=\"done\"").await
}

pub async fn send_refresh(edge: &Stack, token: &str) -> Response {
    post(&edge.edge("/auth/refresh"), json!({ "refresh_token": token })).await
}
