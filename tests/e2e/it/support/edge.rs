//! Edges of a test's own, before the shared store and upstream.

use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, serve};
use crate::support::stack::{SHARED, Stack};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The edge that tests share: before the shared store and upstream, with routes that require no
/// records.
pub static EDGE: LazyLock<Stack> = LazyLock::new(|| {
    let jwks_url = serve(TRUSTED.jwks());
    let vars = json!({
        "ISSUERS": [{
            "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks_url": jwks_url,
        }],
        "ROUTES": [
            { "name": "admin", "path": "/api/admin", "access": "protected", "require": "not_revoked", "scopes": ["admin"],
              "suffixes": "same" },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
            { "name": "public", "path": "/public/*", "access": "public" },
        ],
        "STORE_DEADLINE_MS": "3000",
        "STORE_URL": SHARED.fact("store_url"),
        "STORE_TOKEN": SHARED.fact("edge_store_token"),
        "UPSTREAM_URL": SHARED.fact("upstream_url"),
        "AUTH_URL": SHARED.fact("auth_url"),
    });
    Stack::start(&["--only", "edge"], Some(vars))
});

/// Starts an edge under workerd, before the shared store and upstream, with these variables.
pub fn launch_edge(vars: Value) -> Stack {
    let mut all = json!({
        "STORE_DEADLINE_MS": "3000",
        "STORE_URL": SHARED.fact("store_url"),
        "STORE_TOKEN": SHARED.fact("edge_store_token"),
        "UPSTREAM_URL": SHARED.fact("upstream_url"),
        "AUTH_URL": SHARED.fact("auth_url"),
        "ROUTES": [{ "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" }],
    });
    all.as_object_mut().unwrap().extend(vars.as_object().unwrap().clone());
    Stack::start(&["--only", "edge", "--engine", "workerd"], Some(all))
}

/// Starts an edge as [`launch_edge`] does, without blocking the runtime.
pub async fn start_edge(vars: Value) -> Stack {
    tokio::task::spawn_blocking(move || launch_edge(vars)).await.unwrap()
}
