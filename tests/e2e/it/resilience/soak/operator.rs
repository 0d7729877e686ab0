//! The operator, who manages keys and blocks by the auth service's endpoints.

use super::record::{Reply, Topic};
use super::world::World;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long an access token of the operator is used.
const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// Returns an access token. `None` while the operator can't log in.
async fn token(world: &World) -> Option<String> {
    let mut held = world.operator.0.lock().await;
    if let Some((token, since)) = &*held
        && since.elapsed() < TOKEN_LIFE
    {
        return Some(token.clone());
    }
    let stack = &world.system.stack;
    let body = json!({ "username": "operator", "password": stack.password() });
    let reply = world.send(world.client.post(world.url("/auth/login")).json(&body)).await;
    let answer: Value = serde_json::from_str(&reply.body).unwrap_or_default();
    match answer["access_token"].as_str() {
        Some(token) => {
            world.record.right("operator's login", &reply);
            *held = Some((token.to_owned(), Instant::now()));
            Some(token.to_owned())
        }
        None => {
            world.record.failure("operator's login", &reply, &world.history);
            None
        }
    }
}

/// Sends a request of the operator. Returns `None` if the operator can't log in.
pub async fn send(
    world: &World,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Option<Reply> {
    let token = token(world).await?;
    let request = world.client.request(method, world.url(path)).bearer_auth(token);
    let request = match body {
        Some(body) => request.json(body),
        None => request,
    };
    Some(world.send(request).await)
}

/// Records a response other than a success. The operator's requests are valid.
pub fn record_failure(world: &World, kind: &'static str, reply: &Reply) {
    match reply.status {
        Some(400..=499) if reply.status != Some(429) => {
            world.record.find(Topic::WrongReject, format!("{kind}: {}", reply.body));
        }
        _ => world.record.failure(kind, reply, &world.history),
    }
}
