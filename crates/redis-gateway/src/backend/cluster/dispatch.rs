//! Sends the parts of commands to their nodes, and follows redirections.
//!
//! Only a part that a node rejected without running it (MOVED, ASK, TRYAGAIN and the like) is sent
//! again. A part whose fate is unknown is never sent again.

use super::nodes::Nodes;
use super::plan::{Part, Target, keys};
use super::redirect::Redirect;
use super::slot_map::SlotMap;
use crate::backend::batch::Batch;
use crate::backend::memory::ReplyMemory;
use crate::backend::outage::Outage;
use crate::redis_url::Address;
use futures_util::future::join_all;
use redis_rest::{Command, Reply};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The results of all parts, in the order of the parts.
pub type Outcomes = Vec<Result<Reply, Outage>>;

/// A part without a final outcome.
struct PendingPart {
    part: usize,
    redirected: Option<Redirected>,
    attempts: usize,
}

/// A node that a part was redirected to.
struct Redirected {
    to: Address,
    /// Whether the node requires ASKING first.
    asking: bool,
}

/// The parts to send now, and those that wait for an earlier part.
struct Schedule {
    groups: HashMap<Address, Vec<PendingPart>>,
    waiting: Vec<PendingPart>,
}

/// Sends each part to its node, and sends redirected parts again until the deadline.
///
/// The parts of one node go in order.
pub async fn dispatch(
    nodes: &Nodes,
    parts: &[Part],
    memory: &Arc<ReplyMemory>,
    deadline: Instant,
) -> Outcomes {
    let mut outcomes: Outcomes = parts.iter().map(|_| Err(Outage::Unreachable)).collect();
    let mut pending: Vec<PendingPart> =
        (0..parts.len()).map(|part| PendingPart { part, redirected: None, attempts: 0 }).collect();
    while !pending.is_empty() {
        let Ok(map) = nodes.slot_map(deadline).await else { return outcomes };
        if Instant::now() >= deadline {
            break;
        }
        let Schedule { groups, mut waiting } = schedule(nodes, parts, pending, &map, &mut outcomes);
        let sent = groups.into_iter().map(|(address, group)| async move {
            let replies = send(nodes, parts, &address, &group, memory, deadline).await;
            (address, group, replies)
        });
        let mut map_is_stale = false;
        for (address, group, replies) in join_all(sent).await {
            let replies = match replies {
                Ok(replies) => replies,
                Err(outage) => {
                    nodes.request_refresh();
                    group.iter().for_each(|one| settle(&mut outcomes, one.part, Err(outage)));
                    continue;
                }
            };
            let redirects: Vec<Option<Redirect>> = group
                .iter()
                .zip(&replies)
                .map(|(one, reply)| accepted_redirect(one, reply, parts, &map, &address))
                .collect();
            let rejected = group.iter().zip(&redirects).map(|(one, own)| (one.part, own.is_some()));
            let overtaken = overtaken(&rejected.collect::<Vec<_>>(), parts);
            for ((mut one, reply), redirect) in group.into_iter().zip(replies).zip(redirects) {
                settle(&mut outcomes, one.part, Ok(reply));
                if overtaken.contains(&one.part) {
                    continue;
                }
                one.attempts += 1;
                one.redirected = match redirect {
                    Some(Redirect::Ask { to, .. }) if map.known.contains(&to) => {
                        Some(Redirected { to, asking: true })
                    }
                    Some(Redirect::Moved { to, .. })
                        if map.known.contains(&to) && to != address =>
                    {
                        nodes.request_refresh();
                        Some(Redirected { to, asking: false })
                    }
                    // Sent to a node that the map does not have yet, or sent later.
                    Some(_) => {
                        map_is_stale = true;
                        None
                    }
                    None => continue,
                };
                if one.attempts < ATTEMPTS_MAX || one.redirected.is_none() {
                    waiting.push(one);
                }
            }
        }
        waiting.sort_by_key(|one| one.part);
        pending = waiting;
        if map_is_stale {
            if !has_time_to_retry(deadline) {
                break;
            }
            nodes.wait_for_newer_map(&map).await;
        }
    }
    // A part that a node rejected keeps its error. A part that is still waiting was never sent.
    for one in pending.iter().filter(|one| one.attempts == 0) {
        settle(&mut outcomes, one.part, Err(Outage::Deadline));
    }
    outcomes
}

/// Returns the parts that a node rejected before it ran a later part with one of their keys, if
/// either of them writes. Sent again, they would come after that part, so they keep their error.
/// `answers` are parts of one node in order, each with whether it was rejected.
pub(super) fn overtaken(answers: &[(usize, bool)], parts: &[Part]) -> HashSet<usize> {
    let mut overtaken = HashSet::new();
    if answers.iter().all(|(_, is_rejected)| !is_rejected) {
        return overtaken;
    }
    // For each key of a part that ran, whether such a part writes it.
    let mut run: HashMap<&[u8], bool> = HashMap::new();
    for (place, is_rejected) in answers.iter().rev() {
        let Some(part) = parts.get(*place) else { continue };
        let mut keys = keys(&part.command).into_iter();
        if !is_rejected {
            keys.for_each(|key| *run.entry(key).or_default() |= part.writes);
        } else if keys.any(|key| run.get(key).is_some_and(|writes| *writes || part.writes)) {
            overtaken.insert(*place);
        }
    }
    overtaken
}

/// Returns whether enough time is left for another attempt.
///
/// An attempt that the deadline cuts off would leave open whether the command ran.
pub fn has_time_to_retry(deadline: Instant) -> bool {
    Instant::now() + RETRY_MARGIN < deadline
}

/// Returns the error for a slot without a master.
pub fn slot_not_served() -> Reply {
    Reply::Error("CLUSTERDOWN Hash slot not served".to_owned())
}

/// Groups pending parts by node, and holds back those that wait for an earlier part.
///
/// While a slot moves, a part with several keys may have to wait. Then later parts with one of
/// these keys wait, too, if either of them writes.
fn schedule(
    nodes: &Nodes,
    parts: &[Part],
    pending: Vec<PendingPart>,
    map: &SlotMap,
    outcomes: &mut Outcomes,
) -> Schedule {
    let mut groups: HashMap<Address, Vec<PendingPart>> = HashMap::new();
    let any_has_several_keys =
        pending.iter().any(|one| parts.get(one.part).is_some_and(|part| part.has_several_keys));
    // For each key of a part that may have to wait, whether such a part writes it.
    let mut held_keys: HashMap<&[u8], bool> = HashMap::new();
    let mut waiting = Vec::new();
    for one in pending {
        let Some(part) = parts.get(one.part) else { continue };
        if any_has_several_keys && matches!(part.target, Target::Slot(_)) {
            let keys = keys(&part.command);
            let is_held =
                |key: &&[u8]| held_keys.get(key).is_some_and(|writes| *writes || part.writes);
            let must_wait = keys.iter().any(is_held);
            if part.has_several_keys || must_wait {
                for key in keys {
                    *held_keys.entry(key).or_default() |= part.writes;
                }
            }
            if must_wait {
                waiting.push(one);
                continue;
            }
        }
        let redirected = one.redirected.as_ref().map(|redirected| redirected.to.clone());
        match redirected.or_else(|| nodes.resolve(&part.target, map)) {
            Some(address) => groups.entry(address).or_default().push(one),
            None => {
                nodes.request_refresh();
                settle(outcomes, one.part, Ok(slot_not_served()));
            }
        }
    }
    Schedule { groups, waiting }
}

/// Sends a group of parts to one node, and returns a reply for each.
async fn send(
    nodes: &Nodes,
    parts: &[Part],
    address: &Address,
    group: &[PendingPart],
    memory: &Arc<ReplyMemory>,
    deadline: Instant,
) -> Result<Vec<Reply>, Outage> {
    let mut batch = Batch::default();
    let asking = Command::new("ASKING");
    let needs_asking =
        |one: &PendingPart| one.redirected.as_ref().is_some_and(|redirected| redirected.asking);
    for one in group {
        if let Some(part) = parts.get(one.part) {
            if needs_asking(one) {
                batch.push(&[&asking, &part.command]);
            } else {
                batch.push(&[&part.command]);
            }
        }
    }
    let mut replies = nodes.pool(address).send(batch, memory, deadline).await?.into_iter();
    Ok(group
        .iter()
        .filter_map(|one| if needs_asking(one) { replies.nth(1) } else { replies.next() })
        .collect())
}

/// Returns the redirection in a reply, if the Cluster itself can have sent it.
fn accepted_redirect(
    one: &PendingPart,
    reply: &Reply,
    parts: &[Part],
    map: &SlotMap,
    from: &Address,
) -> Option<Redirect> {
    let Reply::Error(text) = reply else { return None };
    let part = parts.get(one.part)?;
    let redirect = Redirect::parse(text, from)?;
    // A script can return a redirection of its own. Only one is followed, so that the script is not
    // sent back and forth.
    let follows =
        redirect.is_plausible_for(part, map, from) && (!part.is_script || one.attempts == 0);
    follows.then_some(redirect)
}

fn settle(outcomes: &mut Outcomes, part: usize, outcome: Result<Reply, Outage>) {
    if let Some(slot) = outcomes.get_mut(part) {
        *slot = outcome;
    }
}

/// The most attempts to send a part that each node redirects to another one.
const ATTEMPTS_MAX: usize = 16;
/// A time above what a node needs for a reply.
const RETRY_MARGIN: Duration = Duration::from_millis(150);
