//! Blocks that the operator sets and clears: of a visitor, a key, and a client's address.

use super::api_keys;
use super::guests;
use super::history::Revocation;
use super::model::Token;
use super::operator;
use super::record::{Reply, Topic};
use super::settings::BLOCK_REFRESH_SECONDS;
use super::state::api_keys::ApiKey;
use super::state::visitors::Visitor;
use super::world::World;
use crate::support::chance::Chance;
use crate::support::issuer::ISSUER;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a block is watched before it is cleared.
const WATCHED: Duration = Duration::from_secs(4);

/// The pause between two requests of a blocked caller.
const PAUSE: Duration = Duration::from_millis(250);

/// When a block of an address is in every isolate's list, with a second for the fetch. Only
/// requests that ask the store nothing else depend on it.
const REFRESH: Duration = Duration::from_secs(BLOCK_REFRESH_SECONDS + 1);

/// The longest time until a cleared block no longer applies: longer than any fault, its recovery
/// and the delivery after it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A caller to block.
enum Caller {
    Visitor(Visitor),
    Key(ApiKey),
    /// An address, and whether it calls the public route.
    Address(String, bool),
}

impl Caller {
    fn choose(world: &World, chance: &mut Chance) -> Option<Self> {
        Some(match chance.below(4) {
            0 => {
                // Tokens that do not expire meanwhile.
                let mut visitor = world.visitors.take(chance, |_| true)?;
                world.visitors.bury(&visitor.passes, None);
                visitor.passes.clear();
                visitor.sign_in(chance);
                Self::Visitor(visitor)
            }
            1 => Self::Key(world.api_keys.take(chance)?),
            place => Self::Address(guests::address(chance), place == 2),
        })
    }

    fn put_back(self, world: &World) {
        match self {
            Self::Visitor(visitor) => world.visitors.put(visitor),
            Self::Key(key) => world.api_keys.put(key),
            Self::Address(..) => {}
        }
    }

    /// Returns the tokens that the block concerns. An address has one that is not sent.
    fn tokens(&self) -> Vec<Arc<Token>> {
        match self {
            Self::Visitor(visitor) => {
                visitor.passes.iter().map(|pass| Arc::clone(&pass.token)).collect()
            }
            Self::Key(key) => vec![Arc::clone(&key.token)],
            Self::Address(..) => vec![Arc::new(Token::of_key("", "", PATIENCE * 60))],
        }
    }

    fn body(&self) -> Value {
        match self {
            Self::Visitor(visitor) => json!({ "subject": visitor.sub, "issuer": ISSUER }),
            Self::Key(key) => json!({ "key": key.id }),
            Self::Address(address, _) => json!({ "address": address }),
        }
    }

    fn query(&self) -> String {
        let body = self.body();
        let pairs: Vec<String> = body
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| {
                let value = value.as_str().unwrap().replace(':', "%3A").replace('/', "%2F");
                format!("{name}={value}")
            })
            .collect();
        pairs.join("&")
    }

    /// Returns a request of the caller to a random isolate.
    fn request(&self, world: &World, chance: &mut Chance) -> RequestBuilder {
        match self {
            Self::Visitor(visitor) => {
                let pass = &visitor.passes[chance.place(visitor.passes.len()).unwrap()];
                let request = world.client.get(world.any_url(chance, pass.path()));
                request.bearer_auth(&pass.token.text)
            }
            Self::Key(key) => api_keys::request(world, &key.token.text, chance),
            Self::Address(address, is_public) => {
                let path = if *is_public { "/public/x" } else { "/open/x" };
                let request = world.client.get(world.any_url(chance, path));
                request.header("cf-connecting-ip", address)
            }
        }
    }

    /// Returns how long after the others a block takes effect for this caller.
    fn delay(&self) -> Duration {
        match self {
            Self::Address(_, true) => REFRESH,
            _ => Duration::ZERO,
        }
    }
}

/// Blocks a caller, watches that it is refused, clears the block, and waits until it passes again.
pub async fn block(world: &World, mut chance: Chance) {
    let Some(caller) = Caller::choose(world, &mut chance) else { return };
    let tokens = caller.tokens();
    tokens.iter().for_each(|token| token.begin_ending());
    let mut body = caller.body();
    body["seconds"] = 600.into();
    body["reason"] = "soak".into();
    let set = repeat(world, "block", Method::POST, "/auth/blocks", Some(&body)).await;
    let Some(revocation) = set else { return };
    let at = revocation.at + caller.delay();
    tokens.iter().for_each(|token| token.revoke(Revocation { at, ..revocation }));
    let begun = Instant::now();
    while begun.elapsed() < WATCHED + caller.delay() {
        let reply = world.send(caller.request(world, &mut chance)).await;
        judge_blocked(world, &caller, &tokens[0], &reply);
        tokio::time::sleep(PAUSE).await;
    }
    let path = format!("/auth/blocks?{}", caller.query());
    if repeat(world, "unblock", Method::DELETE, &path, None).await.is_some() {
        passes_again(world, &caller, &mut chance).await;
        tokens.iter().for_each(|token| token.continue_after_all());
        caller.put_back(world);
    }
}

/// Repeats a request of the operator until it succeeds.
async fn repeat(
    world: &World,
    kind: &'static str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Option<Revocation> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(reply) = operator::send(world, method.clone(), path, body).await {
            let delivered = match reply.status {
                Some(200 | 201 | 204) => Some(true),
                Some(202) => Some(false),
                _ => None,
            };
            if let Some(delivered) = delivered {
                world.record.right(kind, &reply);
                return Some(Revocation { at: reply.answered, delivered, pushed: None });
            }
            operator::record_failure(world, kind, &reply);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.record.find(Topic::Recovery, format!("{kind}: no success"));
    None
}

fn judge_blocked(world: &World, caller: &Caller, token: &Token, reply: &Reply) {
    match reply.status {
        Some(200) => {
            let revocation = token.revocation().unwrap();
            // While a fault lasts, the last list of blocked addresses holds.
            let is_list_old = !caller.delay().is_zero()
                && world.history.had_fault(revocation.at - REFRESH, reply.sent);
            if reply.sent <= revocation.at
                || is_list_old
                || world.history.excuses(revocation, reply.sent)
            {
                return world.record.right("blocked", reply);
            }
            let late = reply.sent - revocation.at;
            let (what, delivered) = (caller.body(), revocation.delivered);
            let fault = world.history.last_fault();
            let list = stored_list(world);
            let text = format!(
                "{what} passed {late:?} after its block (delivered: {delivered}); {fault}; the \
                 store's list: {list}"
            );
            world.record.find(Topic::WrongAccept, text);
        }
        Some(403) => world.record.right("blocked", reply),
        // The requests of an address count on its limit, too.
        Some(429) if reply.is_over_limit() && matches!(caller, Caller::Address(..)) => {
            world.record.right("blocked", reply);
        }
        status if status == Some(401) || reply.is_over_limit() => {
            world.record.find(Topic::WrongReject, format!("blocked: {}", reply.body));
        }
        _ => world.record.failure("blocked", reply, &world.history),
    }
}

/// Waits until both isolates let a caller pass three times in a row.
async fn passes_again(world: &World, caller: &Caller, chance: &mut Chance) {
    let (begun, mut passed) = (Instant::now(), 0);
    while passed < 6 {
        let reply = world.send(caller.request(world, chance)).await;
        match reply.status {
            Some(200 | 429) => passed += 1,
            _ => passed = 0,
        }
        let limit = if world.history.is_calm(begun) { PATIENCE / 2 } else { PATIENCE };
        if begun.elapsed() > limit {
            let text = format!("a cleared block applies after {:?}", begun.elapsed());
            return world.record.find(Topic::WrongReject, format!("{text}: {}", reply.body));
        }
        tokio::time::sleep(PAUSE).await;
    }
    world.record.right(
        "block cleared",
        &Reply { sent: begun, answered: Instant::now(), status: Some(200), body: String::new() },
    );
}

/// Returns the list of blocked networks in the store, for findings.
fn stored_list(world: &World) -> String {
    let client = redis::Client::open(world.system.stack.fact("redis_url")).unwrap();
    let list = client
        .get_connection()
        .and_then(|mut redis| redis::cmd("GET").arg("pc:block:networks").query(&mut redis));
    list.unwrap_or_else(|error| error.to_string())
}
