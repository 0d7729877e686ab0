//! Credits that an operator grants to subjects, which spend them at both isolates.

use super::operator;
use super::record::Topic;
use super::settings::PAID;
use super::state::credits::Buyer;
use super::world::World;
use crate::support::chance::Chance;
use crate::support::events::unique;
use crate::support::issuer::ISSUER;
use reqwest::Method;
use serde_json::json;
use std::time::{Duration, Instant};

/// The credits of one grant.
const CREDITS: u64 = 5;

/// The time until a grant counts for a caller that was refused before: 5 s, and a second more.
const APPLIES: Duration = Duration::from_secs(6);

/// The time after a fault until the store has all grants again.
const RESTORED: Duration = Duration::from_secs(15);

/// How long the operator tries to deliver a grant.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends a request that spends a credit.
pub async fn spend(world: &World, mut chance: Chance) {
    let buyer = world.credits.any(&mut chance);
    let url = world.any_url(&mut chance, "/paid/x");
    buyer.account.lock().unwrap().spent_max += 1;
    let reply = world.send(world.client.get(url).bearer_auth(&buyer.token)).await;
    world.judge_identity("credit spent", Some(&buyer.sub), &reply);
    let mut account = buyer.account.lock().unwrap();
    match reply.status {
        Some(200) => {
            account.passed.push(reply.answered);
            world.record.right("credit spent", &reply);
        }
        Some(429) if reply.is_over_limit() => {
            account.spent_max -= 1;
            let is_due = account.confirmed_at.is_some_and(|at| at + APPLIES < reply.sent);
            let is_calm = !world.history.had_fault(reply.sent - RESTORED, reply.answered);
            if is_due && is_calm && account.confirmed > account.spent_max {
                let (granted, spent) = (account.confirmed, account.spent_max);
                let text = format!("refused with {spent} of {granted} credits spent");
                world.record.find(Topic::Limit, format!("{text}: {}", reply.body));
            }
            world.record.right("credits exhausted", &reply);
        }
        Some(401 | 403) => {
            world.record.find(Topic::WrongReject, format!("credit spent: {}", reply.body));
        }
        // A store that answered late may have counted it, and the attempt after it.
        _ => {
            account.spent_max += 1;
            world.record.failure("credit spent", &reply, &world.history);
        }
    }
}

/// Grants credits, and repeats that with the same id until it succeeds.
pub async fn grant(world: &World, mut chance: Chance) {
    let buyer = world.credits.any(&mut chance);
    let body = json!({
        "limit": PAID, "by": [{ "part": "subject", "value": buyer.sub }], "issuer": ISSUER,
        "credits": CREDITS, "id": unique("grant"),
    });
    let begun = Instant::now();
    buyer.account.lock().unwrap().grants.push((begun, CREDITS));
    while begun.elapsed() < PATIENCE {
        let path = "/auth/limits/credits";
        if let Some(reply) = operator::send(world, Method::POST, path, Some(&body)).await {
            match reply.status {
                Some(200 | 201) => {
                    let mut account = buyer.account.lock().unwrap();
                    account.confirmed += CREDITS;
                    account.confirmed_at = Some(reply.answered);
                    return world.record.right("credits granted", &reply);
                }
                // The store will have them at a time that is not known.
                Some(202) => return world.record.right("credits granted", &reply),
                _ => operator::record_failure(world, "credits granted", &reply),
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.record.find(Topic::Recovery, "credits can't be granted".to_owned());
}

/// Reports more requests than were granted up to any moment. What the store lost may be spent once
/// more.
pub fn judge(world: &World) {
    world.credits.all().iter().for_each(|buyer| judge_buyer(world, buyer));
}

fn judge_buyer(world: &World, buyer: &Buyer) {
    let account = buyer.account.lock().unwrap();
    let mut passed = account.passed.clone();
    passed.sort_unstable();
    let Some(first) = passed.first() else { return };
    for (count, moment) in (1..).zip(&passed) {
        let granted = account.grants.iter().filter(|(sent, _)| sent <= moment);
        let granted: u64 = granted.map(|(_, credits)| credits).sum();
        let losses = world.history.losses(*first, *moment) as u64;
        if count > granted * (1 + losses) {
            let text = format!("{count} requests with {granted} credits, {losses} losses");
            return world.record.find(Topic::Limit, text);
        }
    }
}
