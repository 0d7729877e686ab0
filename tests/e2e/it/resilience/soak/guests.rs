//! Requests without a token on the optional route, which have a limit by address.

use super::record::Topic;
use super::settings::{GUEST_QUOTA, GUEST_WINDOW_SECONDS};
use super::world::World;
use crate::support::chance::Chance;
use reqwest::RequestBuilder;

/// The address that sends more than its limit.
const GREEDY: &str = "192.0.2.1";

/// Adds a random address to a request, and an identity that the edge must remove.
pub fn anonymous(request: RequestBuilder, chance: &mut Chance) -> RequestBuilder {
    from(request, &address(chance))
}

/// Returns an address that has most likely sent no request.
pub fn address(chance: &mut Chance) -> String {
    let [a, b, c] = [(); 3].map(|()| chance.below(256));
    format!("10.{a}.{b}.{c}")
}

fn from(request: RequestBuilder, address: &str) -> RequestBuilder {
    request.header("cf-connecting-ip", address).header("portcullis-subject", "mallory")
}

/// Sends a request from an address that sent no request recently.
pub async fn visit(world: &World, mut chance: Chance) {
    let request = world.client.get(world.any_url(&mut chance, "/open/x"));
    let reply = world.send(anonymous(request, &mut chance)).await;
    world.judge_identity("guest", None, &reply);
    match reply.status {
        Some(200) => world.record.right("guest", &reply),
        status if status == Some(401) || reply.is_over_limit() => {
            world.record.find(Topic::Limit, format!("a guest was refused: {}", reply.body));
        }
        _ => world.record.failure("guest", &reply, &world.history),
    }
}

/// Sends a request from the address that is above its limit.
pub async fn visit_greedily(world: &World, mut chance: Chance) {
    let request = world.client.get(world.any_url(&mut chance, "/open/x"));
    let reply = world.send(from(request, GREEDY)).await;
    match reply.status {
        Some(200) => {
            world.guests.0.lock().unwrap().push((reply.sent, reply.answered));
            world.record.right("greedy guest", &reply);
        }
        Some(429) if reply.is_over_limit() => world.record.right("greedy guest", &reply),
        _ => world.record.failure("greedy guest", &reply, &world.history),
    }
}

/// Reports an interval in which more requests passed than the limit admits. A store that lost its
/// counts admits the quota once more.
pub fn judge_limit(world: &World) {
    let mut passed = world.guests.0.lock().unwrap().clone();
    passed.sort_unstable();
    for (place, (from, _)) in passed.iter().enumerate() {
        for (count, (_, to)) in (1..).zip(&passed[place..]) {
            let time = to.saturating_duration_since(*from);
            let refilled = time.as_secs_f64() * GUEST_QUOTA as f64 / GUEST_WINDOW_SECONDS as f64;
            let losses = world.history.losses(*from, *to);
            let most = GUEST_QUOTA as f64 * (1 + losses) as f64 + refilled + 1.0;
            if f64::from(count) > most {
                let text = format!("{count} anonymous requests in {time:?}, {losses} losses");
                return world.record.find(Topic::Limit, text);
            }
        }
    }
    // What the limit admits is admitted, too.
    if passed.len() <= GUEST_QUOTA {
        let text = format!("only {} requests of the greedy guest passed", passed.len());
        world.record.find(Topic::Limit, text);
    }
}
