//! The requests that change sessions: login, refresh, logout, revocation, and the second use of a
//! refresh token.

use super::history::Revocation;
use super::model::{Pair, Session};
use super::record::{Reply, Topic};
use super::world::World;
use crate::support::chance::Chance;
use reqwest::RequestBuilder;
use serde_json::json;
use std::time::{Duration, Instant};

/// The number of sessions that logins and logouts maintain during a run.
pub const SESSIONS: usize = 30;

pub async fn log_in(world: &World) {
    let stack = &world.system.stack;
    let body = json!({ "username": stack.username(), "password": stack.password() });
    let reply = world.send(world.client.post(world.url("/auth/login")).json(&body)).await;
    match (reply.status, Pair::read(&reply.body)) {
        (Some(200), Some(pair)) => {
            world.record.right("login", &reply);
            world.model.issue(&pair.access);
            world.model.put(Session::new(pair));
        }
        (Some(401), _) => world.record.find(Topic::WrongReject, format!("login: {}", reply.body)),
        _ => world.record.failure("login", &reply, &world.history),
    }
}

fn refresh_request(world: &World, token: &str) -> RequestBuilder {
    world.client.post(world.url("/auth/refresh")).json(&json!({ "refresh_token": token }))
}

pub async fn refresh(world: &World, mut chance: Chance) {
    // A session whose response was lost must refresh again within the grace period.
    let in_doubt = world.model.take(&mut chance, |session| session.in_doubt);
    let Some(session) = in_doubt.or_else(|| world.model.take(&mut chance, |_| true)) else {
        return;
    };
    if let Some(session) = renew(world, session).await {
        world.model.put(session);
    }
}

/// Refreshes a session. Returns `None` if it is lost.
pub async fn renew(world: &World, mut session: Session) -> Option<Session> {
    let reply = world.send(refresh_request(world, &session.refresh)).await;
    match (reply.status, Pair::read(&reply.body)) {
        (Some(200), Some(pair)) => {
            world.record.right("refresh", &reply);
            if pair.sid != session.sid {
                world.record.find(Topic::LostSession, "a refresh gave another session".to_owned());
            }
            world.model.issue(&pair.access);
            session.renew(pair);
        }
        (Some(401), _) => {
            let doubt = if session.in_doubt { ", after a lost response" } else { "" };
            world.record.find(Topic::LostSession, format!("refresh{doubt}: {}", reply.body));
            return None;
        }
        _ => {
            session.in_doubt = true;
            world.record.failure("refresh", &reply, &world.history);
        }
    }
    Some(session)
}

/// Changes the sessions at random: logs in while there are few, and otherwise ends one.
pub async fn change(world: &World, mut chance: Chance, may_log_in: bool) {
    if let Some(session) = world.model.take_unsure() {
        return end(world, session, End::RefreshToken).await;
    }
    if world.model.live() < SESSIONS {
        if may_log_in {
            log_in(world).await;
        }
        return;
    }
    let waits = world.grace + Duration::from_secs(2);
    let spent = |session: &Session| {
        let old = |spent: &super::model::Spent| spent.at.elapsed() > waits;
        !session.in_doubt && session.spent.as_ref().is_some_and(old)
    };
    if chance.below(4) == 0
        && let Some(session) = world.model.take(&mut chance, spent)
    {
        return reuse(world, session).await;
    }
    let Some(session) = world.model.take(&mut chance, |session| !session.in_doubt) else { return };
    match chance.below(4) {
        0 => revoke_access_token(world, session).await,
        1 => end(world, session, End::AccessToken).await,
        2 => end(world, session, End::RefreshToken).await,
        _ => end(world, session, End::Revocation).await,
    }
}

/// How a client ends its session.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// Logs out with the access token.
    AccessToken,
    /// Logs out with the refresh token.
    RefreshToken,
    /// Revokes the refresh token (RFC 7009).
    Revocation,
}

fn revoke_request(world: &World, token: &str) -> RequestBuilder {
    let request = world.client.post(world.url("/oauth/revoke"));
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    request.body(format!("token={token}"))
}

/// Returns the promise of a response to a logout or revocation; `None` if it makes none.
fn promise(reply: &Reply) -> Option<Revocation> {
    let delivered = match reply.status? {
        200 | 204 => true,
        202 => false,
        _ => return None,
    };
    Some(Revocation { at: reply.answered, delivered, pushed: None })
}

async fn end(world: &World, session: Session, how: End) {
    session.begin_ending();
    let logout = || world.client.post(world.url("/auth/logout"));
    let newest = session.tokens.iter().rfind(|token| !token.expires_within(Duration::from_secs(5)));
    let request = match (how, newest) {
        (End::AccessToken, Some(token)) => logout().bearer_auth(&token.text),
        (End::Revocation, _) => revoke_request(world, &session.refresh),
        _ => logout().json(&json!({ "refresh_token": session.refresh })),
    };
    let reply = world.send(request).await;
    match (promise(&reply), reply.status) {
        (Some(revocation), _) => {
            world.record.right("logout", &reply);
            world.model.bury(&session.tokens, revocation);
        }
        // An earlier attempt has ended the session, but its response was lost.
        (None, Some(401)) => {
            let revocation = Revocation { at: reply.answered, delivered: false, pushed: None };
            world.model.bury(&session.tokens, revocation);
        }
        _ => {
            world.record.failure("logout", &reply, &world.history);
            world.model.put_unsure(session);
        }
    }
}

/// Revokes one access token; the session continues.
async fn revoke_access_token(world: &World, mut session: Session) {
    if let Some(token) = session.tokens.pop() {
        token.begin_ending();
        let reply = world.send(revoke_request(world, &token.text)).await;
        match promise(&reply) {
            Some(revocation) => {
                world.record.right("revoke", &reply);
                world.model.bury(&[token], revocation);
            }
            None => world.record.failure("revoke", &reply, &world.history),
        }
    }
    if let Some(session) = renew(world, session).await {
        world.model.put(session);
    }
}

/// Presents a used refresh token after the grace period, which must end the session.
async fn reuse(world: &World, session: Session) {
    let Some(spent) = session.spent.clone() else { return };
    session.begin_ending();
    let reply = world.send(refresh_request(world, &spent.token)).await;
    match reply.status {
        Some(401) => {
            world.record.right("reuse", &reply);
            let revocation = Revocation { at: Instant::now(), delivered: false, pushed: None };
            world.model.bury(&session.tokens, revocation);
            let reply = world.send(refresh_request(world, &session.refresh)).await;
            if reply.status == Some(200) {
                let text = "the newest refresh token works after the reuse of a spent one";
                world.record.find(Topic::Reuse, text.to_owned());
            }
        }
        Some(200) => {
            let age = spent.at.elapsed();
            let text = format!("a refresh token gave tokens {age:?} after its first use");
            world.record.find(Topic::Reuse, text);
            world.model.put_unsure(session);
        }
        _ => {
            world.record.failure("reuse", &reply, &world.history);
            world.model.put_unsure(session);
        }
    }
}
