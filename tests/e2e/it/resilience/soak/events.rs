//! The events by which the second issuer ends its tokens. As a provider does, the sender repeats an
//! event until it is accepted.

use super::history::Revocation;
use super::record::Topic;
use super::state::visitors::{Confirmed, Pass, Visitor};
use super::visitors;
use super::world::World;
use crate::support::chance::Chance;
use crate::support::events::{CAEP, Push, RISC, global, logout, security_event, user};
use crate::support::issuer::now;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The pause before an event is sent again.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest time until an event is accepted: longer than any fault with its recovery.
const PATIENCE: Duration = Duration::from_secs(60);

/// A marker of a subject has whole seconds, so a new token is signed in a later one.
const NEW_SECOND: Duration = Duration::from_millis(2100);

/// The age up to which an event is repeated. Older ones would be refused.
const REPEATED: Duration = Duration::from_secs(100);

/// An event, and the tokens that it ends.
struct Event {
    push: Push,
    ends: Vec<Pass>,
}

pub async fn push(world: &World, mut chance: Chance) {
    match chance.below(12) {
        0 => name_other_issuers_user(world, chance).await,
        1 | 2 => repeat(world, chance).await,
        3 => restore(world, chance).await,
        _ => end(world, chance).await,
    }
}

/// Sends an event to a random isolate until it is accepted.
async fn deliver(world: &World, push: &Push, chance: &mut Chance) -> Option<Revocation> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let url = world.any_url(chance, "/events");
        let reply = world.send(push.request(&world.client, &url)).await;
        match reply.status {
            Some(200 | 202 | 204) => {
                world.record.right("event", &reply);
                let pushed = Some(reply.sent);
                return Some(Revocation { at: reply.answered, delivered: true, pushed });
            }
            Some(400..=499) => {
                world.record.find(Topic::WrongReject, format!("event: {}", reply.body));
                return None;
            }
            _ => world.record.failure("event", &reply, &world.history),
        }
        tokio::time::sleep(PAUSE).await;
    }
    world.record.find(Topic::Recovery, "an event is not accepted".to_owned());
    None
}

/// Ends a token, a session or all tokens of a visitor.
async fn end(world: &World, mut chance: Chance) {
    let Some(mut visitor) = world.visitors.take(&mut chance, |_| true) else { return };
    let events = choose(&visitor, &mut chance);
    for pass in events.iter().flat_map(|event| &event.ends) {
        pass.token.begin_ending();
    }
    let delivered = events.iter().map(|event| {
        let mut own = Chance::new(chance.below(u64::from(u32::MAX)) + 1);
        async move {
            let at = Instant::now();
            let revocation = deliver(world, &event.push, &mut own).await;
            world.visitors.bury(&event.ends, revocation);
            revocation.map(|_| Confirmed { push: event.push.clone(), at })
        }
    });
    let confirmed = join_all(delivered).await;
    visitor.passes.retain(|pass| {
        !events.iter().flat_map(|event| &event.ends).any(|ended| ended.jti == pass.jti)
    });
    visitor.confirmed.extend(confirmed.into_iter().flatten());
    let surplus = visitor.confirmed.len().saturating_sub(4);
    visitor.confirmed.drain(..surplus);
    come_back(world, visitor, chance).await;
}

/// Lets a visitor without tokens sign in again.
async fn come_back(world: &World, mut visitor: Visitor, mut chance: Chance) {
    if visitor.passes.is_empty() {
        tokio::time::sleep(NEW_SECOND).await;
        visitor.sign_in(&mut chance);
    }
    world.visitors.put(visitor);
}

/// Chooses one event about a visitor, or several that arrive in any order.
fn choose(visitor: &Visitor, chance: &mut Chance) -> Vec<Event> {
    let sub = &visitor.sub;
    let pass = &visitor.passes[chance.place(visitor.passes.len()).unwrap()];
    let sid = &pass.token.sid;
    let all = || visitor.passes.clone();
    let session = || {
        let own = visitor.passes.iter().filter(|pass| pass.token.sid == *sid);
        own.cloned().collect::<Vec<_>>()
    };
    let set = |uri: String, subject: Value| Push::security_event(&security_event(&uri, &subject));
    let of_session = |subject: Value| set(format!("{CAEP}/session-revoked"), subject);
    let opaque = json!({ "format": "opaque", "id": sid });
    let one = || Event { push: of_token(pass), ends: vec![pass.clone()] };
    let logout_of = |claims: Value| Push::logout(&logout(claims));
    let event = |push: Push, ends: Vec<Pass>| vec![Event { push, ends }];
    match chance.below(8) {
        0 => event(logout_of(json!({ "sub": sub, "sid": sid })), session()),
        1 => event(logout_of(json!({ "sub": sub })), all()),
        2 => event(of_session(opaque), session()),
        3 => vec![one()],
        4 => event(set(format!("{RISC}/account-disabled"), user(sub)), all()),
        5 => event(Push::global(&global(), &user(sub)), all()),
        6 => {
            let subject = json!({ "format": "complex", "user": user(sub), "session": opaque });
            event(of_session(subject), session())
        }
        _ => {
            let old = |claims: Value, age: u64| {
                let mut claims = claims;
                claims["iat"] = (now() - age).into();
                logout_of(claims)
            };
            let mut events = vec![
                Event { push: old(json!({ "sub": sub, "sid": sid }), 30), ends: session() },
                Event { push: old(json!({ "sub": sub }), 20), ends: all() },
                one(),
            ];
            chance.shuffle(&mut events);
            events
        }
    }
}

/// Returns an event that ends one token.
fn of_token(pass: &Pass) -> Push {
    let subject =
        json!({ "format": "jwt_id", "iss": crate::support::issuer::ISSUER, "jti": pass.jti });
    Push::security_event(&security_event(&format!("{CAEP}/session-revoked"), &subject))
}

/// Sends an event once more, which must not end the later tokens of its subject.
async fn repeat(world: &World, mut chance: Chance) {
    let is_new = |confirmed: &Confirmed| confirmed.at.elapsed() < REPEATED;
    let fits = |visitor: &Visitor| visitor.confirmed.iter().any(is_new);
    let Some(mut visitor) = world.visitors.take(&mut chance, fits) else { return };
    visitor.confirmed.retain(is_new);
    let Some(place) = chance.place(visitor.confirmed.len()) else {
        return world.visitors.put(visitor);
    };
    let Confirmed { push, at } = &visitor.confirmed[place];
    // A store that lost the first arrival takes the repeated one for the first.
    let is_known = || world.history.losses(*at, Instant::now()) == 0;
    if !is_known() {
        visitor.confirmed.remove(place);
        return world.visitors.put(visitor);
    }
    for pass in &visitor.passes {
        pass.token.begin_ending();
    }
    let revocation = deliver(world, push, &mut chance).await;
    if revocation.is_some() && is_known() {
        for pass in &visitor.passes {
            pass.token.continue_after_all();
        }
    } else {
        world.visitors.bury(&visitor.passes, None);
        visitor.passes.clear();
    }
    come_back(world, visitor, chance).await;
}

/// Sends an event about a user of the other issuer in the name of this one. The user's tokens pass
/// as before, which the other requests check.
async fn name_other_issuers_user(world: &World, mut chance: Chance) {
    let Some(token) = world.model.valid(&mut chance) else { return };
    let push = match chance.below(3) {
        0 => Push::logout(&logout(json!({ "sub": token.sub, "sid": token.sid }))),
        1 => Push::logout(&logout(json!({ "sub": token.sub }))),
        _ => Push::global(&global(), &user(&token.sub)),
    };
    deliver(world, &push, &mut chance).await;
}

/// Revokes a token again whose revocation the store may have lost.
async fn restore(world: &World, mut chance: Chance) {
    let lost = world.visitors.newest_ended(200).into_iter().find(|pass| is_lost(world, pass));
    if let Some(pass) = lost {
        revoke_again(world, &pass, &mut chance).await;
    }
}

fn is_lost(world: &World, pass: &Pass) -> bool {
    let revocation = pass.token.revocation();
    revocation.is_some_and(|revocation| world.history.may_have_lost(revocation))
        && !pass.token.expires_within(Duration::from_secs(5))
}

async fn revoke_again(world: &World, pass: &Pass, chance: &mut Chance) {
    if let Some(revocation) = deliver(world, &of_token(pass), chance).await {
        pass.token.revoke_again(revocation);
    }
}

/// Revokes again what the store may have lost, and compares the verdicts of both isolates.
pub async fn check(world: &World) {
    let mut chance = Chance::new(5);
    for pass in world.visitors.newest_ended(100) {
        if is_lost(world, &pass) {
            revoke_again(world, &pass, &mut chance).await;
        }
    }
    visitors::check(world).await;
}
