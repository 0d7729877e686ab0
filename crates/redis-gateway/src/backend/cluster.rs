//! A Cluster: which node has which slot, and how a pipeline is divided among them. Only a command that a
//! node has refused (MOVED, ASK, TRYAGAIN …) is sent again; one whose fate is unknown never is. What a
//! refusal says is not believed beyond what the nodes themselves tell: a script can write one, too. Of a
//! script's, one redirection is followed, and nothing is waited for.

mod map;
mod plan;

use super::link::{Node, Outage, Source};
use super::{is_alive, packed, transact};
use crate::command::{self, is};
use crate::metrics::Metrics;
use crate::redis_url::{Address, How};
use futures_util::future::join_all;
use map::{Map, Redirect};
use plan::{CROSS_SLOT, GO_EVERYWHERE, Gather, Part, To, divide, everywhere, keys, slot};
use redis_rest::{Command, Reply, encode_resp2_command};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

pub struct Cluster {
    seeds: Vec<Address>,
    how: How,
    connections: usize,
    patience: Duration,
    metrics: Arc<Metrics>,
    nodes: Mutex<HashMap<Address, Arc<Node>>>,
    map: watch::Sender<Arc<Map>>,
    /// Told when a node says that the map is old.
    stale: Notify,
    /// Whose turn it is to do what any master can do.
    turn: AtomicUsize,
}

/// A part that is not settled, and where it goes if not where the map says.
struct Pending {
    part: usize,
    redirected: Option<(Address, bool)>,
    turns: usize,
}

impl Cluster {
    pub fn start(
        seeds: Vec<Address>,
        how: How,
        connections: usize,
        patience: Duration,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let cluster = Arc::new(Self {
            seeds,
            how,
            connections,
            patience,
            metrics,
            nodes: Mutex::default(),
            map: watch::channel(Arc::default()).0,
            stale: Notify::new(),
            turn: AtomicUsize::new(0),
        });
        // Ends with the cluster, which the task does not hold while it pauses.
        let weak = Arc::downgrade(&cluster);
        tokio::spawn(async move {
            let mut told = false;
            while let Some(cluster) = weak.upgrade() {
                let found = cluster.refresh().await;
                if let (Err(why), false) = (&found, told) {
                    tracing::warn!(event = "cluster_unknown", why);
                }
                told = found.is_err();
                // With a part of the map, the rest is looked for less eagerly than with none.
                let wait = match found {
                    Ok(()) => REFRESH_EVERY,
                    Err(_) if cluster.map.borrow().masters.is_empty() => REFRESH_PAUSE,
                    Err(_) => REFRESH_PARTIAL,
                };
                let _ = timeout(wait, cluster.stale.notified()).await;
                drop(cluster);
                sleep(REFRESH_PAUSE).await;
            }
        });
        cluster
    }

    pub async fn run(
        &self,
        commands: Vec<Command>,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let map = self.known(deadline).await?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut parts = Vec::with_capacity(commands.len());
        let gathers: Vec<Gather> =
            commands.into_iter().map(|command| divide(command, &map, turn, &mut parts)).collect();
        let outcomes = self.dispatch(&parts, deadline).await;
        // If not one of the nodes answered, that is the news; otherwise each command has its own.
        if let Some(Err(outage)) = outcomes.first()
            && outcomes.iter().all(Result::is_err)
        {
            return Err(*outage);
        }
        let mut replies: Vec<Reply> = outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|outage| Reply::Error(outage.text().to_owned())))
            .collect();
        Ok(gathers.into_iter().map(|gather| gather.reply(&mut replies)).collect())
    }

    pub async fn run_atomically(
        &self,
        commands: &[Command],
        deadline: Instant,
    ) -> Result<Reply, Outage> {
        let mut slots = Vec::new();
        for command in commands {
            if GO_EVERYWHERE.iter().any(|name| is(command, 0, name)) {
                let name = command::shown(command);
                let text = format!("ERR '{name}' goes to every node; a transaction runs on one");
                return Ok(Reply::Error(text));
            }
            match slot(command) {
                Ok(Some(slot)) => slots.push(slot),
                Ok(None) => {}
                Err(text) => return Ok(Reply::Error(text)),
            }
        }
        if slots.windows(2).any(|two| matches!(two, [a, b] if a != b)) {
            return Ok(Reply::Error(format!("{CROSS_SLOT}: a transaction runs on one node")));
        }
        let to = slots.first().map_or(To::Any, |slot| To::Slot(*slot));
        loop {
            let map = self.known(deadline).await?;
            let Some(address) = self.address(&to, &map) else { return Ok(unserved()) };
            // Redirected when it was queued, or at EXEC: in either case nothing of it was done.
            let reply = transact(&self.node(&address), commands, deadline).await?;
            let Reply::Error(text) = &reply else { return Ok(reply) };
            // ASK can't be followed: each command of a transaction would need an ASKING before it. So it
            // waits until the slot has moved.
            if Redirect::read(text, &address).is_none() || Instant::now() + RETRY_MARGIN >= deadline
            {
                return Ok(reply);
            }
            self.renewed(&map).await;
        }
    }

    /// Some master.
    pub async fn any(&self, deadline: Instant) -> Result<Arc<Node>, Outage> {
        let map = self.known(deadline).await?;
        let address = self.address(&To::Any, &map).ok_or(Outage::Unreachable)?;
        Ok(self.node(&address))
    }

    /// Whether each slot has a master, and every master answers.
    pub async fn is_ready(&self, deadline: Instant) -> bool {
        let Ok(map) = self.known(deadline).await else { return false };
        let mut parts = Vec::new();
        everywhere(&Command::new("PING"), &map, &mut parts);
        let outcomes = self.dispatch(&parts, deadline).await;
        map.is_whole() && outcomes.iter().all(|outcome| outcome.as_ref().is_ok_and(is_alive))
    }

    /// Sends each part to its node, the parts of one node in order and in one write, and again those
    /// that were redirected.
    async fn dispatch(&self, parts: &[Part], deadline: Instant) -> Vec<Result<Reply, Outage>> {
        let mut outcomes: Vec<Result<Reply, Outage>> =
            parts.iter().map(|_| Err(Outage::Unreachable)).collect();
        let mut pending: Vec<Pending> =
            (0..parts.len()).map(|part| Pending { part, redirected: None, turns: 0 }).collect();
        while !pending.is_empty() {
            let Ok(map) = self.known(deadline).await else { return outcomes };
            if Instant::now() >= deadline {
                break;
            }
            let (groups, mut waiting) = self.groups(parts, pending, &map, &mut outcomes);
            let sent = groups.into_iter().map(|(address, group)| async move {
                let replies = self.send(parts, &address, &group, deadline).await;
                (address, group, replies)
            });
            let mut is_old = false;
            for (address, group, replies) in join_all(sent).await {
                let replies = match replies {
                    Ok(replies) => replies,
                    Err(outage) => {
                        self.stale.notify_one();
                        group.iter().for_each(|one| settle(&mut outcomes, one.part, Err(outage)));
                        continue;
                    }
                };
                for (mut one, reply) in group.into_iter().zip(replies) {
                    let redirect = match (&reply, parts.get(one.part)) {
                        (Reply::Error(text), Some(part)) => {
                            let redirect = Redirect::read(text, &address)
                                .filter(|redirect| redirect.is_of(part, &map, &address));
                            // One of a script's may be its own: it is not sent to and fro.
                            redirect.filter(|_| !part.is_script || one.turns == 0)
                        }
                        _ => None,
                    };
                    settle(&mut outcomes, one.part, Ok(reply));
                    one.turns += 1;
                    one.redirected = match redirect {
                        Some(Redirect::Ask(_, to)) if map.known.contains(&to) => Some((to, true)),
                        Some(Redirect::Moved(_, to))
                            if map.known.contains(&to) && to != address =>
                        {
                            self.stale.notify_one();
                            Some((to, false))
                        }
                        // To a node that nobody has heard of yet, or in a moment.
                        Some(Redirect::Ask(..) | Redirect::Later | Redirect::Moved(..)) => {
                            is_old = true;
                            None
                        }
                        None => continue,
                    };
                    if one.turns < TURNS_MAX || one.redirected.is_none() {
                        waiting.push(one);
                    }
                }
            }
            waiting.sort_by_key(|one| one.part);
            pending = waiting;
            if is_old {
                if Instant::now() + RETRY_MARGIN >= deadline {
                    break;
                }
                self.renewed(&map).await;
            }
        }
        // What was refused has its refusal; what waited for something before it was not sent.
        for one in pending.iter().filter(|one| one.turns == 0) {
            settle(&mut outcomes, one.part, Err(Outage::Deadline));
        }
        outcomes
    }

    /// What goes to which node now, and what waits for something before it.
    fn groups(
        &self,
        parts: &[Part],
        pending: Vec<Pending>,
        map: &Map,
        outcomes: &mut [Result<Reply, Outage>],
    ) -> (HashMap<Address, Vec<Pending>>, Vec<Pending>) {
        let mut groups: HashMap<Address, Vec<Pending>> = HashMap::new();
        let several =
            pending.iter().any(|one| parts.get(one.part).is_some_and(|part| part.has_several_keys));
        // For each key of what may have to wait, whether it is written.
        let mut held: HashMap<&[u8], bool> = HashMap::new();
        let mut waiting = Vec::new();
        for one in pending {
            let Some(part) = parts.get(one.part) else { continue };
            if several && matches!(part.to, To::Slot(_)) {
                let keys = keys(&part.command);
                let waits =
                    |key: &&[u8]| held.get(key).is_some_and(|writes| *writes || part.writes);
                let must_wait = keys.iter().any(waits);
                if part.has_several_keys || must_wait {
                    for key in keys {
                        *held.entry(key).or_default() |= part.writes;
                    }
                }
                if must_wait {
                    waiting.push(one);
                    continue;
                }
            }
            let redirected = one.redirected.as_ref().map(|(address, _)| address.clone());
            match redirected.or_else(|| self.address(&part.to, map)) {
                Some(address) => groups.entry(address).or_default().push(one),
                None => {
                    self.stale.notify_one();
                    settle(outcomes, one.part, Ok(unserved()));
                }
            }
        }
        (groups, waiting)
    }

    async fn send(
        &self,
        parts: &[Part],
        address: &Address,
        group: &[Pending],
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let mut bytes = Vec::new();
        let mut count = 0;
        let asks = |one: &Pending| matches!(one.redirected, Some((_, true)));
        for one in group {
            if asks(one) {
                encode_resp2_command(&Command::new("ASKING"), &mut bytes);
                count += 1;
            }
            if let Some(part) = parts.get(one.part) {
                encode_resp2_command(&part.command, &mut bytes);
                count += 1;
            }
        }
        let mut replies = self.node(address).send(bytes, count, deadline).await?.into_iter();
        Ok(group
            .iter()
            .filter_map(|one| if asks(one) { replies.nth(1) } else { replies.next() })
            .collect())
    }

    /// The map, waited for where there is none yet.
    async fn known(&self, deadline: Instant) -> Result<Arc<Map>, Outage> {
        let mut receiver = self.map.subscribe();
        let known = receiver.wait_for(|map| !map.masters.is_empty());
        match timeout_at(deadline, known).await {
            Ok(Ok(map)) => Ok(Arc::clone(&map)),
            Ok(Err(_)) | Err(_) => Err(Outage::Unreachable),
        }
    }

    /// Waits a moment for another map than this one.
    async fn renewed(&self, old: &Arc<Map>) {
        let mut receiver = self.map.subscribe();
        self.stale.notify_one();
        sleep(RETRY_PAUSE).await;
        let _ = timeout(RETRY_PAUSE, receiver.wait_for(|map| !Arc::ptr_eq(map, old))).await;
    }

    fn address(&self, to: &To, map: &Map) -> Option<Address> {
        match to {
            To::Any => self.some_master(map),
            To::Node(address) => Some(address.clone()),
            To::Slot(slot) => map.owner(*slot).cloned(),
        }
    }

    /// One that is up, if any is, each in its turn.
    fn some_master(&self, map: &Map) -> Option<Address> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let turned = map.masters.iter().cycle().skip(turn % map.masters.len().max(1));
        let mut masters = turned.take(map.masters.len());
        masters.find(|master| self.node(master).is_up()).or(map.masters.first()).cloned()
    }

    /// A node of the map's, or a seed.
    fn node(&self, address: &Address) -> Arc<Node> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let node = nodes.entry(address.clone()).or_insert_with(|| {
            let source = Source::Fixed { address: address.clone(), how: self.how.clone() };
            let metrics = Arc::clone(&self.metrics);
            Arc::new(Node::start(source, self.connections, self.patience, metrics))
        });
        Arc::clone(node)
    }

    /// Asks the nodes in turn for their map, until one tells it that sees the cluster whole: one that
    /// was cut off from the others still answers. Or says why there is none.
    async fn refresh(&self) -> Result<(), String> {
        let mut why = "no node answers".to_owned();
        let mut partial: Option<Map> = None;
        let mut asked: Vec<Address> = self.map.borrow().masters.clone();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % asked.len().max(1);
        asked.rotate_left(turn);
        asked.extend(self.seeds.iter().cloned());
        for address in asked {
            let cluster = |word: &str| Command::new("CLUSTER").arg(word);
            let ask = packed(&[cluster("SLOTS"), cluster("NODES"), cluster("INFO")]);
            let deadline = Instant::now() + REFRESH_MAX;
            let Ok(replies) = self.node(&address).send(ask, 3, deadline).await else { continue };
            let [slots, nodes, info] = replies.as_slice() else { continue };
            if let Reply::Error(text) = slots {
                why = text.clone();
            }
            let Some(map) = Map::read(slots, nodes, &address) else { continue };
            // Who may not ask for it has the map's own word.
            let is_ok = info.as_text().is_none_or(|text| text.contains("cluster_state:ok"));
            if is_ok && map.is_whole() {
                self.take(map);
                return Ok(());
            }
            if partial.as_ref().is_none_or(|best| best.served() < map.served()) {
                partial = Some(map);
            }
        }
        // Where none sees it whole, a part of it is better than nothing.
        self.take(partial.ok_or(why)?);
        Err("no node sees the cluster whole".to_owned())
    }

    fn take(&self, map: Map) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|address, _| map.known.contains(address) || self.seeds.contains(address));
        drop(nodes);
        self.map.send_replace(Arc::new(map));
    }
}

fn settle(outcomes: &mut [Result<Reply, Outage>], part: usize, outcome: Result<Reply, Outage>) {
    if let Some(slot) = outcomes.get_mut(part) {
        *slot = outcome;
    }
}

fn unserved() -> Reply {
    Reply::Error("CLUSTERDOWN Hash slot not served".to_owned())
}

const REFRESH_EVERY: Duration = Duration::from_secs(10);
const REFRESH_PARTIAL: Duration = Duration::from_secs(1);
const REFRESH_MAX: Duration = Duration::from_secs(1);
/// Between two looks, however many ask for one.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);
/// What must be left until the deadline for another try: one that is cut off by it leaves open what was done.
const RETRY_MARGIN: Duration = Duration::from_millis(150);
const RETRY_PAUSE: Duration = Duration::from_millis(25);
/// How often a command is redirected at the most.
const TURNS_MAX: usize = 16;

#[cfg(test)]
mod tests;
