//! Events that must be refused: of another key, another issuer's, or no events at all.

use super::record::Topic;
use super::settings::{FORGED_KEY, FORGER};
use super::world::World;
use crate::support::chance::Chance;
use crate::support::events::{
    LOGOUT, Push, RISC, event_claims, event_header, logout, security_event, user,
};
use crate::support::issuer::{Issuer, TRUSTED, now};
use serde_json::{Value, json};

/// Sends an event about a visitor or a user of the other issuer. Their tokens pass as before, which
/// the other requests check.
pub async fn push(world: &World, mut chance: Chance) {
    let Some(pass) = world.visitors.live(&mut chance) else { return };
    let Some(token) = world.model.valid(&mut chance) else { return };
    let sub = &pass.token.sub;
    let sign = |issuer: &Issuer, header: Value, changes: Value| {
        let mut all = json!({ "sub": sub, "events": { LOGOUT: {} } });
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        issuer.sign(&event_header("logout+jwt", header), &event_claims(all))
    };
    let disabled = format!("{RISC}/account-disabled");
    let forged = |header: Value| Push::logout(&sign(&FORGER, header, json!({})));
    let refused = |changes: Value| Push::logout(&sign(&TRUSTED, json!({}), changes));
    let event = match chance.below(9) {
        0 => forged(json!({})),
        1 | 2 => forged(json!({ "kid": FORGED_KEY })),
        3 => forged(json!({ "alg": "none" })),
        4 => Push::logout(&pass.token.text),
        5 => Push::global(&logout(json!({ "sub": sub })), &user(sub)),
        6 => {
            let foreign = identifier(world.system.stack.fact("edge_url"), &token.sub);
            Push::security_event(&security_event(&disabled, &foreign))
        }
        7 => refused(json!({ "aud": "https://other.example" })),
        _ => refused(json!({ "iat": now() - 90_000 })),
    };
    let url = world.any_url(&mut chance, "/events");
    let reply = world.send(event.request(&world.client, &url)).await;
    match reply.status {
        Some(200..=299) => {
            world.record.find(Topic::WrongAccept, "a forged event was accepted".to_owned());
        }
        Some(400 | 401) => world.record.right("forged event", &reply),
        // The edge fetches keys at a bounded rate.
        Some(503) if reply.body.contains("keys_unavailable") => {
            world.record.right("forged event", &reply);
        }
        _ => world.record.failure("forged event", &reply, &world.history),
    }
}

/// Returns an object with the subject as the second issuer names it.
fn identifier(issuer: &str, sub: &str) -> Value {
    json!({ "format": "iss_sub", "iss": issuer, "sub": sub })
}
