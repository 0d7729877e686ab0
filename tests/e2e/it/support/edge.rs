//! Edges for one test, in front of the shared store and upstream.

use crate::support::environment::on_memcached;
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, serve};
use crate::support::stack::{SHARED, Stack};
use serde_json::{Value, json};
use std::sync::LazyLock;

/// The shared edge of the tests, in front of the shared store and upstream. Its routes require no
/// records.
pub static EDGE: LazyLock<Stack> = LazyLock::new(|| {
    let jwks_url = serve(TRUSTED.jwks());
    let vars = json!({
        "issuers": [{
            "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks_url": jwks_url,
        }],
        "routes": [
            { "name": "admin", "path": "/api/admin", "access": "protected", "require": "not_revoked", "scopes": ["admin"],
              "suffixes": "same" },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
            { "name": "public", "path": "/public/*", "access": "public" },
        ],
        "store.timeout_ms": 3000,
        "store.url": SHARED.fact("store_url"),
        "STORE_TOKEN": SHARED.fact("edge_store_token"),
        "upstream.url": SHARED.fact("upstream_url"),
        "auth.url": SHARED.fact("auth_url"),
    });
    Stack::start(&["--only", "edge", "--engine", "wrangler"], Some(vars))
});

/// Starts an edge under workerd, in front of the shared store and upstream, with these changes of
/// the policy and the variables.
pub fn launch_edge(vars: Value) -> Stack {
    let mut all = json!({
        "store.timeout_ms": 3000,
        "store.url": SHARED.fact("store_url"),
        "STORE_TOKEN": SHARED.fact("edge_store_token"),
        "upstream.url": SHARED.fact("upstream_url"),
        "auth.url": SHARED.fact("auth_url"),
        "routes": [{ "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" }],
    });
    all.as_object_mut().unwrap().extend(vars.as_object().unwrap().clone());
    if on_memcached() {
        count_by_fixed_windows(&mut all);
    }
    Stack::start(&["--only", "edge"], Some(all))
}

/// Changes limits without an algorithm to the algorithm that memcached can count.
fn count_by_fixed_windows(vars: &mut Value) {
    let members = ["limits", "routes"].map(|name| vars.get(name).cloned().unwrap_or(json!([])));
    let [mut limits, mut routes] = members;
    let fixed = |limit: &mut Value| {
        limit.as_object_mut().unwrap().entry("algorithm").or_insert("fixed_window".into());
    };
    limits.as_array_mut().unwrap().iter_mut().for_each(fixed);
    let own = routes.as_array_mut().unwrap().iter_mut().filter_map(|route| route.get_mut("limit"));
    own.for_each(fixed);
    vars["routes"] = routes;
    if limits != json!([]) {
        vars["limits"] = limits;
    }
}

/// Starts an edge like [`launch_edge`], without blocking the runtime.
pub async fn start_edge(vars: Value) -> Stack {
    tokio::task::spawn_blocking(move || launch_edge(vars)).await.unwrap()
}
