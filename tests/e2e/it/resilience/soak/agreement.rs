//! The checks at the end of a run: sessions still refresh, the parts agree, and no log has a panic.

use super::credits;
use super::events;
use super::guests;
use super::history::REVOCATION_SECONDS_MAX;
use super::model::Session;
use super::overrides;
use super::record::Topic;
use super::requests::PATHS;
use super::sessions::{change, renew};
use super::system::AUTH_PROGRAM;
use super::world::World;
use crate::support::chance::Chance;
use crate::support::stack::edge_defects;
use portcullis_core::StoreKeys;
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// The number of newest tokens that are compared.
const TOKENS: usize = 400;

pub async fn check(world: &World) {
    confirm_ends(world).await;
    let live = refresh_all(world).await;
    wait_for_outbox(world).await;
    compare_verdicts(world).await;
    compare_lists(world, &live).await;
    events::check(world).await;
    guests::judge_limit(world);
    credits::judge(world);
    overrides::judge(world);
    search_logs(world);
    judge_failures(world);
}

/// Ends the sessions whose end was not confirmed.
async fn confirm_ends(world: &World) {
    let begun = Instant::now();
    while world.model.unsure() > 0 && begun.elapsed() < PATIENCE {
        change(world, Chance::new(3), false).await;
    }
    let left = world.model.unsure();
    if left > 0 {
        world.record.find(Topic::Recovery, format!("{left} logouts are not confirmed"));
    }
}

/// Refreshes every session that no client ended. Returns the sessions that still refresh.
async fn refresh_all(world: &World) -> Vec<Session> {
    let mut live = Vec::new();
    for session in world.model.take_all() {
        let begun = Instant::now();
        let mut left = Some(session);
        while let Some(session) = left.take() {
            match renew(world, session).await {
                Some(session) if session.in_doubt && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    left = Some(session);
                }
                Some(session) if session.in_doubt => {
                    let text = format!("{} gets no answer", session.sid);
                    world.record.find(Topic::LostSession, text);
                }
                Some(session) => live.push(session),
                None => {}
            }
        }
    }
    if live.is_empty() {
        world.record.find(Topic::LostSession, "no session is left".to_owned());
    }
    live
}

async fn wait_for_outbox(world: &World) {
    let begun = Instant::now();
    loop {
        let rows = world.system.stack.metric("auth_url", "portcullis_auth_outbox_rows", "").await;
        if rows == 0 {
            return;
        }
        if begun.elapsed() > PATIENCE {
            world.record.find(Topic::Database, format!("the outbox has {rows} rows"));
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Compares the database's state of each token with the edge's verdicts.
async fn compare_verdicts(world: &World) {
    tokio::time::sleep(Duration::from_secs(REVOCATION_SECONDS_MAX + 1)).await;
    let stack = &world.system.stack;
    let issued = world.model.issued();
    for token in issued.iter().rev().take(TOKENS) {
        // For a token that is about to expire, clocks of whole seconds may differ.
        if token.expires_within(Duration::from_secs(5)) {
            continue;
        }
        let url = format!("{}/oauth/introspect", stack.fact("auth_url"));
        let request = world.client.post(url);
        let request = request.basic_auth("edge", Some(stack.fact("introspection_secret")));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let reply = world.send(request.body(format!("token={}", token.text))).await;
        let answer: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        let expected = if answer["active"] == true { 200 } else { 401 };
        for path in PATHS {
            let call = world.client.get(world.url(path)).bearer_auth(&token.text);
            let status = world.send(call).await.status;
            if status != Some(expected) {
                let text = format!("{path}: {status:?}, and the database says {expected}");
                world.record.find(Topic::Database, text);
            }
        }
    }
}

/// Compares the user's sessions in Redis, in the database, and as the clients know them.
async fn compare_lists(world: &World, live: &[Session]) {
    let stack = &world.system.stack;
    let mut list = tokio::process::Command::new(AUTH_PROGRAM);
    list.arg("--config").arg(stack.fact("auth_config"));
    let output = list.args(["sessions", "list", "--username", stack.username()]).output();
    let text = String::from_utf8(output.await.unwrap().stdout).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let database: BTreeSet<String> =
        lines.filter_map(|line| line["session"].as_str().map(str::to_owned)).collect();
    let client = redis::Client::open(stack.fact("redis_url")).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    // The operator has sessions, too.
    let subjects = live.iter().filter_map(|session| session.tokens.first()).map(|token| &token.sub);
    let subjects: BTreeSet<&String> = subjects.collect();
    let mut store = BTreeSet::new();
    for sub in subjects {
        let key = StoreKeys::new(StoreKeys::PREFIX).sessions(stack.fact("edge_url"), sub);
        let held: Vec<String> =
            redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).query_async(&mut redis).await.unwrap();
        store.extend(held);
    }
    let clients: BTreeSet<String> = live.iter().map(|session| session.sid.clone()).collect();
    let disagree = |text: &str, count: usize| {
        if count > 0 {
            world.record.find(Topic::Database, format!("{count} sessions {text}"));
        }
    };
    disagree("of clients are not in Redis", clients.difference(&store).count());
    disagree("in Redis are not in the database", store.difference(&database).count());
    // A client whose login got no response does not know its session.
    let logins =
        world.record.kinds().get("login").map_or(0, |counts| counts.total() - counts.right);
    let unknown = database.difference(&clients).count();
    if unknown as u64 > logins {
        disagree("in the database belong to no client", unknown);
    }
}

fn search_logs(world: &World) {
    let edge = [&world.system.edge, &world.system.other].map(|edge| edge.log("edge")).concat();
    let servers = world.system.logs();
    let panics = servers.lines().filter(|line| line.contains("panicked at"));
    for line in edge_defects(&edge).into_iter().chain(panics).take(20) {
        world.record.find(Topic::Panic, line.to_owned());
    }
}

/// Every kind of request. If one of them never succeeded in a run, that run did not check it.
const KINDS: [&str; 34] = [
    "valid",
    "revoked",
    "forged",
    "aborted",
    "public",
    "WebSocket",
    "refresh",
    "login",
    "logout",
    "revoke",
    "reuse",
    "visitor",
    "visitor gone",
    "another API",
    "event",
    "forged event",
    "guest",
    "greedy guest",
    "API key",
    "API key ended",
    "made-up key",
    "key created",
    "key rolled",
    "key restricted",
    "key revoked",
    "block",
    "blocked",
    "block cleared",
    "credit spent",
    "credits exhausted",
    "credits granted",
    "customer",
    "quota raised",
    "quota cleared",
];

/// Reports unexplained failures above 1%, and a load that was not sent.
fn judge_failures(world: &World) {
    let kinds = world.record.kinds();
    let total: u64 = kinds.values().map(super::record::Counts::total).sum();
    let failed: u64 = kinds.values().map(super::record::Counts::unexplained).sum();
    if failed * 100 > total {
        world.record.find(Topic::Failures, format!("{failed} of {total} outside of faults"));
    }
    for kind in KINDS {
        if kinds.get(kind).is_none_or(|counts| counts.right == 0) {
            world.record.find(Topic::Load, format!("{kind}: never as expected"));
        }
    }
    let skipped = world.record.skipped();
    if skipped * 10 > total {
        world.record.find(Topic::Load, format!("{skipped} of {total} were not sent"));
    }
}
