//! API keys of the first issuer: created, used, rolled, restricted and revoked by an operator.

use super::history::Revocation;
use super::model::Token;
use super::operator;
use super::record::{Reply, Topic};
use super::settings::{KEY_HEADER, KEY_PREFIX};
use super::state::api_keys::ApiKey;
use super::world::World;
use crate::support::chance::Chance;
use portcullis_core::api_key;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The number of keys that are maintained during a run.
const KEYS: usize = 20;

/// How long the old secret of a rolled key works, if it works at all.
const GRACE: Duration = Duration::from_secs(4);

/// The life of a key, which no run reaches.
const LIFE: Duration = Duration::from_secs(86_400);

/// A network that no client of the test is in.
const ELSEWHERE: &str = "198.51.100.0/24";

/// Returns a request with a key, in one of the places where routes take it.
pub fn request(world: &World, secret: &str, chance: &mut Chance) -> RequestBuilder {
    let place = chance.below(4);
    let path = ["/api/record", "/api/not-revoked", "/api/not-revoked", "/open/x"];
    let request = world.client.get(world.any_url(chance, path[place as usize]));
    if place == 2 { request.header(KEY_HEADER, secret) } else { request.bearer_auth(secret) }
}

pub async fn call(world: &World, mut chance: Chance) {
    let Some(key) = world.api_keys.live(&mut chance) else { return };
    let reply = world.send(request(world, &key.token.text, &mut chance)).await;
    world.judge("API key", &key.token, &reply);
}

pub async fn call_again(world: &World, mut chance: Chance) {
    let Some(key) = world.api_keys.ended(&mut chance) else { return };
    let reply = world.send(request(world, &key.token.text, &mut chance)).await;
    world.judge("API key ended", &key.token, &reply);
}

/// Sends a key that was never issued: made up with a right checksum, or damaged.
pub async fn guess(world: &World, mut chance: Chance) {
    let mut random = [0; 32];
    random.fill_with(|| chance.below(256) as u8);
    let mut made_up = api_key::compose(KEY_PREFIX, random);
    let is_damaged = chance.below(2) == 0;
    if is_damaged {
        let last = made_up.pop();
        made_up.push(if last == Some('a') { 'b' } else { 'a' });
    }
    let reply = world.send(request(world, &made_up, &mut chance)).await;
    match reply.status {
        Some(200) => world.record.find(Topic::WrongAccept, "a made-up key passed".to_owned()),
        Some(401) => world.record.right("made-up key", &reply),
        // The edge introspects unknown keys at a bounded rate.
        Some(503) if !is_damaged && reply.body.contains("overloaded") => {
            world.record.right("made-up key", &reply);
        }
        _ => world.record.failure("made-up key", &reply, &world.history),
    }
}

/// Creates a key while there are few, and otherwise changes one.
pub async fn change(world: &World, mut chance: Chance) {
    if world.api_keys.len() < KEYS {
        return create(world).await;
    }
    let Some(key) = world.api_keys.take(&mut chance) else { return };
    match chance.below(4) {
        0 => roll(world, key, Duration::ZERO).await,
        1 => roll(world, key, GRACE).await,
        2 => restrict(world, key).await,
        _ => revoke(world, key).await,
    }
}

async fn create(world: &World) {
    let body = json!({ "name": "soak", "scope": "api:read", "metadata": { "team": "soak" } });
    let Some(reply) = operator::send(world, Method::POST, "/auth/keys", Some(&body)).await else {
        return;
    };
    match (promise(&reply), read(&reply)) {
        (Some(_), Some(key)) => {
            world.record.right("key created", &reply);
            world.api_keys.put(key);
        }
        _ => operator::record_failure(world, "key created", &reply),
    }
}

/// Reads the response that shows a key.
fn read(reply: &Reply) -> Option<ApiKey> {
    let body: Value = serde_json::from_str(&reply.body).ok()?;
    let owner = body["owner"].as_str()?.strip_prefix("user:")?;
    let token = Token::of_key(body["key"].as_str()?, owner, LIFE);
    let id = body["id"].as_str()?.to_owned();
    Some(ApiKey { id, token: Arc::new(token), settled: Instant::now() })
}

/// Returns the promise of a response: whether the store has the change.
fn promise(reply: &Reply) -> Option<Revocation> {
    let delivered = match reply.status? {
        200 | 201 | 204 => true,
        202 => false,
        _ => return None,
    };
    Some(Revocation { at: reply.answered, delivered, pushed: None })
}

async fn revoke(world: &World, key: ApiKey) {
    key.token.begin_ending();
    let path = format!("/auth/keys/{}", key.id);
    end(world, key, "key revoked", Method::DELETE, &path, None).await;
}

/// Allows a key at addresses only that no client has.
async fn restrict(world: &World, key: ApiKey) {
    key.token.begin_ending();
    let path = format!("/auth/keys/{}", key.id);
    let body = json!({ "networks": [ELSEWHERE] });
    end(world, key, "key restricted", Method::PATCH, &path, Some(&body)).await;
}

async fn end(
    world: &World,
    key: ApiKey,
    kind: &'static str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) {
    let Some(reply) = operator::send(world, method, path, body).await else {
        return world.api_keys.bury(key, None);
    };
    let revocation = promise(&reply);
    match revocation {
        Some(_) => world.record.right(kind, &reply),
        None => operator::record_failure(world, kind, &reply),
    }
    world.api_keys.bury(key, revocation);
}

/// Replaces the secret of a key. The old one works for `grace`.
async fn roll(world: &World, key: ApiKey, grace: Duration) {
    let sent = Instant::now();
    // Times have whole seconds.
    key.token.begin_ending_at(sent + grace.saturating_sub(Duration::from_secs(1)));
    let path = format!("/auth/keys/{}/roll", key.id);
    let body = json!({ "grace_seconds": grace.as_secs() });
    let Some(reply) = operator::send(world, Method::POST, &path, Some(&body)).await else {
        return world.api_keys.bury(key, None);
    };
    match (promise(&reply), read(&reply)) {
        (Some(promise), Some(mut rolled)) => {
            world.record.right("key rolled", &reply);
            let at = promise.at + grace + Duration::from_secs(u64::from(!grace.is_zero()));
            rolled.settled = at + Duration::from_secs(2);
            world.api_keys.bury(key, Some(Revocation { at, ..promise }));
            world.api_keys.put(rolled);
        }
        _ => {
            operator::record_failure(world, "key rolled", &reply);
            world.api_keys.bury(key, None);
        }
    }
}
