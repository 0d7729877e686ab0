//! Sends the parts of commands to their nodes, and follows redirections.
//!
//! Only a part that a node rejected without running it (MOVED, ASK, TRYAGAIN and the like) is sent
//! again. A part whose fate is unknown is never sent again.

use super::nodes::Nodes;
use super::order::{Order, Placement};
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

/// Sends each part to its node, and sends redirected parts again until the deadline.
///
/// No part runs before one that it follows; see [`Order`].
pub async fn dispatch(
    nodes: &Nodes,
    parts: &[Part],
    memory: &Arc<ReplyMemory>,
    deadline: Instant,
) -> Outcomes {
    let mut progress = Progress::new(nodes, parts);
    while !progress.order.is_complete() {
        let Ok(map) = nodes.slot_map(deadline).await else { return progress.outcomes };
        if Instant::now() >= deadline {
            break;
        }
        let sent = progress.schedule(&map).into_iter().map(async |Group { address, members }| {
            let replies = send(nodes, parts, &address, &members, memory, deadline).await;
            (address, members, replies)
        });
        let mut map_is_stale = false;
        for (address, members, replies) in join_all(sent).await {
            match replies {
                Ok(replies) => {
                    map_is_stale |= progress.read_replies(&map, &address, &members, replies);
                }
                Err(outage) => {
                    nodes.request_refresh();
                    members.iter().for_each(|member| progress.finish(member.part, Err(outage)));
                }
            }
        }
        if map_is_stale {
            if !has_time_to_retry(deadline) {
                break;
            }
            nodes.wait_for_newer_map(&map).await;
        }
    }
    progress.into_outcomes()
}

/// The parts of one request on their way.
struct Progress<'a> {
    nodes: &'a Nodes,
    parts: &'a [Part],
    order: Order,
    attempts: Vec<Attempts>,
    /// The slots in which a part with several keys ran.
    steady_slots: HashSet<u16>,
    outcomes: Outcomes,
}

/// The attempts to run one part.
#[derive(Clone, Default)]
struct Attempts {
    count: usize,
    /// The node that it was redirected to.
    redirected: Option<Redirected>,
}

#[derive(Clone)]
struct Redirected {
    to: Address,
    /// Whether the node requires ASKING first.
    asking: bool,
}

/// The parts to send to one node, in order.
struct Group {
    address: Address,
    members: Vec<Member>,
}

struct Member {
    part: usize,
    asking: bool,
}

impl<'a> Progress<'a> {
    fn new(nodes: &'a Nodes, parts: &'a [Part]) -> Self {
        Self {
            nodes,
            parts,
            order: Order::new(parts),
            attempts: vec![Attempts::default(); parts.len()],
            steady_slots: HashSet::new(),
            outcomes: parts.iter().map(|_| Err(Outage::Unreachable)).collect(),
        }
    }

    /// Groups the parts to send now by node.
    fn schedule(&mut self, map: &SlotMap) -> Vec<Group> {
        let Self { nodes, parts, order, attempts, steady_slots, outcomes } = self;
        let mut groups: Vec<Group> = Vec::new();
        let mut indexes: HashMap<Address, usize> = HashMap::new();
        let round = order.next_round(|index| {
            let (part, tried) = (parts.get(index)?, attempts.get(index)?);
            let redirected = tried.redirected.as_ref().map(|redirected| redirected.to.clone());
            let Some(address) = redirected.or_else(|| nodes.resolve(&part.target, map)) else {
                nodes.request_refresh();
                settle(outcomes, index, Ok(slot_not_served()));
                return None;
            };
            let node = *indexes.entry(address).or_insert_with_key(|address| {
                groups.push(Group { address: address.clone(), members: Vec::new() });
                groups.len() - 1
            });
            // While a slot moves, a node may reject this part and run a later one with fewer keys.
            // Only a rejection shows that the slot moves. So the first such part goes ahead.
            let goes_ahead = match part.target {
                Target::Slot(slot) if part.has_several_keys => {
                    tried.count > 0 || !steady_slots.contains(&slot) || nodes.is_moving(slot)
                }
                Target::AnyMaster | Target::Node(_) | Target::Slot(_) => false,
            };
            Some(Placement { node, goes_ahead })
        });
        for (part, node) in round {
            let redirected = attempts.get(part).and_then(|tried| tried.redirected.as_ref());
            let asking = redirected.is_some_and(|redirected| redirected.asking);
            if let Some(group) = groups.get_mut(node) {
                group.members.push(Member { part, asking });
            }
        }
        groups.retain(|group| !group.members.is_empty());
        groups
    }

    /// Reads the replies of one node. Returns whether the map of slots is older than they are.
    fn read_replies(
        &mut self,
        map: &SlotMap,
        address: &Address,
        members: &[Member],
        replies: Vec<Reply>,
    ) -> bool {
        let redirects: Vec<Option<Redirect>> = members
            .iter()
            .zip(&replies)
            .map(|(member, reply)| self.accepted_redirect(member.part, reply, map, address))
            .collect();
        let rejected = members.iter().zip(&redirects).map(|(one, own)| (one.part, own.is_some()));
        let overtaken = overtaken(&rejected.collect::<Vec<_>>(), self.parts);
        // The fate of a part without a reply is unknown, so it is never sent again.
        for member in members.get(replies.len()..).unwrap_or_default() {
            self.finish(member.part, Err(Outage::Unreachable));
        }
        let mut map_is_stale = false;
        for ((member, reply), redirect) in members.iter().zip(replies).zip(redirects) {
            let Some(redirect) = redirect.filter(|_| !overtaken.contains(&member.part)) else {
                self.finish(member.part, Ok(reply));
                continue;
            };
            settle(&mut self.outcomes, member.part, Ok(reply));
            let redirected = match redirect {
                Redirect::Ask { to, .. } if map.known.contains(&to) => {
                    Some(Redirected { to, asking: true })
                }
                Redirect::Moved { to, .. } if map.known.contains(&to) && to != *address => {
                    self.nodes.request_refresh();
                    Some(Redirected { to, asking: false })
                }
                // Sent to a node that the map does not have yet, or sent later.
                Redirect::Ask { .. }
                | Redirect::Moved { .. }
                | Redirect::RetryLater
                | Redirect::TryAgain => {
                    map_is_stale = true;
                    None
                }
            };
            let Some(tried) = self.attempts.get_mut(member.part) else { continue };
            tried.count += 1;
            tried.redirected = redirected;
            if tried.count >= ATTEMPTS_MAX && tried.redirected.is_some() {
                self.order.finish(member.part);
            }
        }
        map_is_stale
    }

    /// Returns the redirection in a reply, if the Cluster itself can have sent it. Notes whether
    /// the part's slot is moving.
    fn accepted_redirect(
        &mut self,
        index: usize,
        reply: &Reply,
        map: &SlotMap,
        from: &Address,
    ) -> Option<Redirect> {
        let part = self.parts.get(index)?;
        let redirect = match reply {
            Reply::Error(text) => Redirect::parse(text, from),
            _ => None,
        };
        let Some(redirect) = redirect else {
            if let (Target::Slot(slot), true) = (&part.target, part.has_several_keys) {
                self.steady_slots.insert(*slot);
            }
            return None;
        };
        // A script can return a redirection of its own. Only one is followed, so that the script is
        // not sent back and forth.
        let is_first = self.attempts.get(index).is_some_and(|tried| tried.count == 0);
        let follows = redirect.is_plausible_for(part, map, from) && (!part.is_script || is_first);
        if let (Target::Slot(slot), Redirect::Ask { .. } | Redirect::TryAgain) =
            (&part.target, &redirect)
            && follows
            && !part.is_script
        {
            self.nodes.note_moving(*slot);
        }
        follows.then_some(redirect)
    }

    /// Notes the final outcome of a part.
    fn finish(&mut self, part: usize, outcome: Result<Reply, Outage>) {
        settle(&mut self.outcomes, part, outcome);
        self.order.finish(part);
    }

    /// Returns the outcomes when no time is left. A part that a node rejected keeps its error. A
    /// part that is still waiting was never sent.
    fn into_outcomes(mut self) -> Outcomes {
        for (part, tried) in self.attempts.iter().enumerate() {
            if tried.count == 0 && !self.order.is_finished(part) {
                settle(&mut self.outcomes, part, Err(Outage::Deadline));
            }
        }
        self.outcomes
    }
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

/// Sends a group of parts to one node, and returns a reply for each.
async fn send(
    nodes: &Nodes,
    parts: &[Part],
    address: &Address,
    members: &[Member],
    memory: &Arc<ReplyMemory>,
    deadline: Instant,
) -> Result<Vec<Reply>, Outage> {
    let mut batch = Batch::default();
    let asking = Command::new("ASKING");
    for member in members {
        if let Some(part) = parts.get(member.part) {
            if member.asking {
                batch.push(&[&asking, &part.command]);
            } else {
                batch.push(&[&part.command]);
            }
        }
    }
    let mut replies = nodes.pool(address).send(batch, memory, deadline).await?.into_iter();
    Ok(members
        .iter()
        .filter_map(|member| if member.asking { replies.nth(1) } else { replies.next() })
        .collect())
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
