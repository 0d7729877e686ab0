//! An edge with limits, and calls to it.

use crate::support::edge::start_edge;
use crate::support::gateway::Gateway;
use crate::support::http::client;
use crate::support::issuer::{TRUSTED, claims, header, issuer_at, serve};
use crate::support::redis_server::Redis;
use crate::support::stack::Stack;
use reqwest::Response;
use serde_json::{Value, json};

pub async fn start(vars: Value) -> Stack {
    let mut all = json!({ "issuers": [issuer_at(&serve(TRUSTED.jwks()))] });
    all.as_object_mut().unwrap().extend(vars.as_object().unwrap().clone());
    start_edge(all).await
}

pub fn token(changes: Value) -> String {
    TRUSTED.sign(&header(json!({})), &claims(changes))
}

/// Sends a request from an address, with a token if there is one.
pub async fn call(stack: &Stack, path: &str, address: &str, token: Option<&str>) -> Response {
    let request = client().get(stack.edge(path)).header("cf-connecting-ip", address);
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    request.send().await.unwrap()
}

/// Returns how many of `count` calls pass.
pub async fn passed(
    stack: &Stack,
    path: &str,
    address: &str,
    token: Option<&str>,
    count: usize,
) -> usize {
    let mut passed = 0;
    for _ in 0..count {
        passed += usize::from(call(stack, path, address, token).await.status() == 200);
    }
    passed
}

pub fn open(name: &str, limit: Value) -> Value {
    json!({ "name": name, "path": format!("/public/{name}"), "access": "public", "limit": limit })
}

pub fn protected(name: &str, more: Value) -> Value {
    let mut route = json!({
        "name": name, "path": format!("/api/{name}"), "access": "protected", "require": "not_revoked",
    });
    route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    route
}

/// Returns a name that is used by no other test's limits.
pub fn unique(name: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    format!("{name}-{}-{next}", std::process::id())
}

/// Starts a redis gateway and a Redis for one test, whose counters no other test changes.
pub async fn store() -> (Redis, Gateway) {
    let start = || {
        let redis = Redis::start(&[]);
        let gateway = Gateway::start(&redis.url(), &[]);
        (redis, gateway)
    };
    let (redis, gateway) = tokio::task::spawn_blocking(start).await.unwrap();
    gateway.ready().await;
    (redis, gateway)
}

pub async fn trips(gateway: &Gateway) -> u64 {
    let text = client().get(format!("{}/metrics", gateway.admin_url)).send().await.unwrap();
    let text = text.text().await.unwrap();
    let lines =
        text.lines().filter(|line| line.starts_with("portcullis_redis_gateway_requests_total"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}
