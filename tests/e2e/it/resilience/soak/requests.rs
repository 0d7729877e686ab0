//! The requests that change nothing: with valid, ended and forged tokens, and without any.

use super::connections;
use super::record::Topic;
use super::world::World;
use crate::support::chance::Chance;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use std::time::{Duration, Instant};

/// The last route is optional: it also takes requests without a token.
pub const PATHS: [&str; 3] = ["/api/record", "/api/not-revoked", "/open/x"];

fn path(chance: &mut Chance) -> &'static str {
    PATHS[chance.place(PATHS.len()).unwrap()]
}

pub async fn valid(world: &World, mut chance: Chance) {
    let Some(token) = world.model.valid(&mut chance) else { return };
    let request = world.client.get(world.url(path(&mut chance))).bearer_auth(&token.text);
    let reply = world.send(request).await;
    world.judge("valid", &token, &reply);
}

pub async fn revoked(world: &World, mut chance: Chance) {
    let Some(token) = world.model.ended(&mut chance) else { return };
    let request = world.client.get(world.url(path(&mut chance))).bearer_auth(&token.text);
    let reply = world.send(request).await;
    world.judge("revoked", &token, &reply);
}

/// Sends a token that no key signed.
pub async fn forged(world: &World, mut chance: Chance) {
    let Some(token) = world.model.valid(&mut chance) else { return };
    let forgery = Forgery::of(&token.text, &mut chance);
    let request = world.client.get(world.url(path(&mut chance))).bearer_auth(&forgery.text);
    let reply = world.send(request).await;
    // The edge fetches keys at a bounded rate. It can't reject a token whose key it may not search
    // for.
    let is_unknown = forgery.has_unknown_key && reply.body.contains("keys_unavailable");
    match reply.status {
        Some(401) => world.record.right("forged", &reply),
        Some(503) if is_unknown => world.record.right("forged", &reply),
        Some(200) => world.record.find(Topic::WrongAccept, "a forged token passed".to_owned()),
        _ => world.record.failure("forged", &reply, &world.history),
    }
}

struct Forgery {
    text: String,
    has_unknown_key: bool,
}

impl Forgery {
    /// Makes a token from a valid one: another signature, other claims, another key, or no
    /// algorithm.
    fn of(token: &str, chance: &mut Chance) -> Self {
        let parts: Vec<&str> = token.split('.').collect();
        let encode = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let kind = chance.below(4);
        let text = match kind {
            0 => format!("{}.{}.{}", parts[0], parts[1], URL_SAFE_NO_PAD.encode([7; 64])),
            1 => {
                let claims = json!({ "sub": "mallory", "exp": 4_000_000_000_u64 });
                format!("{}.{}.{}", parts[0], encode(claims), parts[2])
            }
            2 => {
                let kid = chance.below(1000).to_string();
                let header = json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": kid });
                format!("{}.{}.{}", encode(header), parts[1], parts[2])
            }
            _ => format!("{}.{}.", encode(json!({ "alg": "none", "typ": "at+jwt" })), parts[1]),
        };
        Self { text, has_unknown_key: kind == 2 }
    }
}

pub async fn public(world: &World) {
    let reply = world.send(world.client.get(world.url("/public/x"))).await;
    match reply.status {
        Some(200) => world.record.right("public", &reply),
        _ => world.record.failure("public", &reply, &world.history),
    }
}

pub async fn socket(world: &World, mut chance: Chance) {
    let Some(token) = world.model.valid(&mut chance) else { return };
    let reply = connections::echo(world, &token.text).await;
    world.judge("WebSocket", &token, &reply);
}

pub async fn aborted(world: &World, mut chance: Chance) {
    let Some(token) = world.model.valid(&mut chance) else { return };
    let (sent, delay) = (Instant::now(), Duration::from_millis(chance.below(10)));
    let aborted = connections::abort(world, &token.text, delay).await;
    let reply = super::record::Reply {
        sent,
        answered: Instant::now(),
        status: aborted.is_ok().then_some(0),
        body: String::new(),
    };
    match aborted {
        Ok(()) => world.record.right("aborted", &reply),
        Err(_) => world.record.failure("aborted", &reply, &world.history),
    }
}
