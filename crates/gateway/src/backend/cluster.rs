//! A Cluster: which node has which slot, and how a pipeline is divided among them. Only a command that a
//! node has refused (MOVED, ASK, TRYAGAIN …) is sent again; one whose fate is unknown never is. What a
//! refusal says is not believed beyond what the nodes themselves tell: a script can write one, too.

use super::link::{Node, Outage, Source};
use super::{packed, pong, transact};
use crate::command::{self, Access, Family, is};
use crate::metrics::Metrics;
use crate::redis_url::{Address, How};
use futures_util::future::join_all;
use redis_rest::{Command, Reply, encode_resp2_command};
use std::collections::{HashMap, HashSet};
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

/// Which master has which slot.
#[derive(Default)]
struct Map {
    /// For each slot, the place of its master.
    owners: Vec<Option<u16>>,
    /// In the order of their first slots.
    masters: Vec<Address>,
    /// Every node that the cluster names: nobody else is ever connected to.
    known: HashSet<Address>,
}

/// A command, or what one node does of it.
struct Part {
    command: Command,
    to: To,
    /// Whether it has several keys. One of them may have moved already, and another not: then it waits,
    /// and what comes behind it on these keys must wait, too.
    has_keys: bool,
    writes: bool,
    /// A script's errors are its own.
    is_script: bool,
}

#[derive(Clone)]
enum To {
    Any,
    Node(Address),
    Slot(u16),
}

/// A part that is not settled, and where it goes if not where the map says.
struct Pending {
    part: usize,
    redirected: Option<(Address, bool)>,
    turns: usize,
}

/// How a command's reply comes of its parts' replies. The numbers are places among the parts.
enum Gather {
    /// All went well, or the first error.
    AllOk(Vec<usize>),
    /// One of them went well, or the first error.
    AnyOk(Vec<usize>),
    Concat(Vec<usize>),
    FirstSome(Vec<usize>),
    /// Each part's reply has its values at these places of the whole.
    Interleave {
        parts: Vec<(usize, Vec<usize>)>,
        count: usize,
    },
    /// The smallest at each place.
    Min(Vec<usize>),
    One(usize),
    Refused(String),
    /// SCAN goes on at this master, or at the next.
    Scan {
        part: usize,
        master: usize,
        masters: usize,
    },
    Sum(Vec<usize>),
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
        // Ends with the cluster: the task holds it only while it works.
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
        map.is_whole() && outcomes.iter().all(|outcome| *outcome == Ok(pong()))
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
                for one in pending.iter().filter(|one| one.turns == 0) {
                    settle(&mut outcomes, one.part, Err(Outage::Deadline));
                }
                return outcomes;
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
            pending.iter().any(|one| parts.get(one.part).is_some_and(|part| part.has_keys));
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
                if part.has_keys || must_wait {
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

/// What a node says that can't serve a command. It has not done it.
enum Redirect {
    Ask(u16, Address),
    /// Here, or elsewhere, in a moment.
    Later,
    Moved(u16, Address),
}

impl Redirect {
    fn read(text: &str, from: &Address) -> Option<Self> {
        let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
        let to = || {
            let (slot, address) = rest.split_once(' ')?;
            let (host, port) = address.rsplit_once(':')?;
            // A node that does not know its own name means the one that it was reached by.
            let host = if host.is_empty() { &from.host } else { host };
            Some((slot.parse().ok()?, Address { host: host.to_owned(), port: port.parse().ok()? }))
        };
        match code {
            "MOVED" => to().map(|(slot, to)| Self::Moved(slot, to)),
            "ASK" => to().map(|(slot, to)| Self::Ask(slot, to)),
            "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "READONLY" | "TRYAGAIN" => Some(Self::Later),
            _ => None,
        }
    }

    /// Whether the cluster can have said it of this part. A script may have done something before it
    /// wrote what looks like a refusal, so of a script it is believed only if it leads to another node.
    fn is_of(&self, part: &Part, map: &Map, from: &Address) -> bool {
        match self {
            Self::Later => !part.is_script,
            Self::Ask(slot, to) | Self::Moved(slot, to) => {
                matches!(part.to, To::Slot(own) if own == *slot)
                    && (!part.is_script || (map.known.contains(to) && to != from))
            }
        }
    }
}

impl Map {
    /// Reads the answers to CLUSTER SLOTS and CLUSTER NODES; none if they name no master.
    fn read(slots: &Reply, nodes: &Reply, from: &Address) -> Option<Self> {
        let Reply::Array(ranges) = slots else { return None };
        let mut map = Self { owners: vec![None; usize::from(SLOTS)], ..Self::default() };
        let mut ranges: Vec<(u16, u16, Address)> =
            ranges.iter().map(|range| read_range(range, from)).collect::<Option<_>>()?;
        ranges.sort();
        for (first, last, address) in ranges {
            let found = map.masters.iter().position(|master| *master == address);
            let place = found.unwrap_or(map.masters.len());
            let place = u16::try_from(place).ok()?;
            for slot in first..=last {
                *map.owners.get_mut(usize::from(slot))? = Some(place);
            }
            if found.is_none() {
                map.masters.push(address);
            }
        }
        map.known.extend(map.masters.iter().cloned());
        // One that is about to get its first slot is in this list alone.
        for line in nodes.as_text().unwrap_or_default().lines() {
            let mut names = line.split(' ').nth(1)?.split(',');
            let (host, port) = names.next()?.split('@').next()?.rsplit_once(':')?;
            let port = port.parse().ok()?;
            let host = if host.is_empty() { &from.host } else { host };
            let name = names.next().filter(|name| !name.is_empty());
            map.known.extend(
                [Some(host), name]
                    .into_iter()
                    .flatten()
                    .map(|host| Address { host: host.to_owned(), port }),
            );
        }
        (!map.masters.is_empty() && map.masters.len() < MASTERS_MAX as usize).then_some(map)
    }

    fn owner(&self, slot: u16) -> Option<&Address> {
        let place = (*self.owners.get(usize::from(slot))?)?;
        self.masters.get(usize::from(place))
    }

    fn served(&self) -> usize {
        self.owners.iter().flatten().count()
    }

    fn is_whole(&self) -> bool {
        self.served() == usize::from(SLOTS)
    }
}

/// First and last slot, and the master that has them.
fn read_range(range: &Reply, from: &Address) -> Option<(u16, u16, Address)> {
    let Reply::Array(range) = range else { return None };
    let [Reply::Integer(first), Reply::Integer(last), Reply::Array(master), ..] = range.as_slice()
    else {
        return None;
    };
    let [host, Reply::Integer(port), ..] = master.as_slice() else { return None };
    let host = host.as_text().filter(|host| !host.is_empty() && *host != "?");
    let host = host.unwrap_or(&from.host).to_owned();
    let address = Address { host, port: u16::try_from(*port).ok()? };
    let slot = |slot: &i64| u16::try_from(*slot).ok().filter(|slot| *slot < SLOTS);
    Some((slot(first)?, slot(last)?, address))
}

/// The slot of a key: of what stands in its first braces, or else of all of it, the CRC-16 (XMODEM).
fn slot_of(key: &[u8]) -> u16 {
    let open = key.iter().position(|byte| *byte == b'{').map(|open| open + 1);
    let tag = open.and_then(|open| {
        let rest = key.get(open..)?;
        rest.get(..rest.iter().position(|byte| *byte == b'}')?).filter(|tag| !tag.is_empty())
    });
    let crc = tag.unwrap_or(key).iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % SLOTS
}

/// The one slot of a command's keys; none if it has no key.
fn slot(command: &Command) -> Result<Option<u16>, String> {
    let mut slots = keys(command).into_iter().map(slot_of);
    let first = slots.next();
    match first {
        Some(first) if slots.any(|slot| slot != first) => Err(CROSS_SLOT.to_owned()),
        first => Ok(first),
    }
}

/// Of what is not known, the keys of a module's command: most have one, as their first argument.
fn keys(command: &Command) -> Vec<&[u8]> {
    command::keys(command)
        .unwrap_or_else(|| command.words().get(1).map(Vec::as_slice).into_iter().collect())
}

/// Makes the parts of a command, and says how its reply comes of theirs.
fn divide(command: Command, map: &Map, turn: usize, parts: &mut Vec<Part>) -> Gather {
    let name = command.name().to_ascii_uppercase();
    let sub = |name: &str| is(&command, 1, name);
    let places =
        |parts: Vec<(usize, Vec<usize>)>| parts.into_iter().map(|(part, _)| part).collect();
    match name.as_str() {
        "DEL" | "EXISTS" | "TOUCH" | "UNLINK" => {
            Gather::Sum(places(by_slot(&name, &command, 1, parts)))
        }
        "MGET" => Gather::Interleave {
            count: command.words().len().saturating_sub(1),
            parts: by_slot(&name, &command, 1, parts),
        },
        "MSET" if command.words().len() % 2 == 1 => {
            Gather::AllOk(places(by_slot(&name, &command, 2, parts)))
        }
        "DBSIZE" => Gather::Sum(everywhere(&command, map, parts)),
        "KEYS" => Gather::Concat(everywhere(&command, map, parts)),
        "RANDOMKEY" => {
            let mut masters = everywhere(&command, map, parts);
            let turn = turn % masters.len().max(1);
            masters.rotate_left(turn);
            Gather::FirstSome(masters)
        }
        "FLUSHALL" | "FLUSHDB" => Gather::AllOk(everywhere(&command, map, parts)),
        "FUNCTION" | "SCRIPT" if sub("KILL") => Gather::AnyOk(everywhere(&command, map, parts)),
        "FUNCTION" if !sub("DUMP") && !sub("LIST") && !sub("STATS") => {
            Gather::AllOk(everywhere(&command, map, parts))
        }
        "SCRIPT" if sub("EXISTS") => Gather::Min(everywhere(&command, map, parts)),
        "SCRIPT" => Gather::AllOk(everywhere(&command, map, parts)),
        "SCAN" => scan(command, map, parts),
        _ => match slot(&command) {
            Ok(slot) => {
                parts.push(part(command, slot.map_or(To::Any, To::Slot)));
                Gather::One(parts.len() - 1)
            }
            Err(text) => Gather::Refused(text),
        },
    }
}

fn part(command: Command, to: To) -> Part {
    let facts = command::facts(command.name());
    Part {
        has_keys: keys(&command).len() > 1,
        writes: facts.is_none_or(|facts| facts.access != Access::Read),
        is_script: facts.is_some_and(|facts| facts.family == Family::Scripting),
        command,
        to,
    }
}

/// A command of the same name for each slot, with the keys of that slot and what belongs to each (`step`
/// words a key). Returns the parts, and which of the keys each has.
fn by_slot(
    name: &str,
    command: &Command,
    step: usize,
    parts: &mut Vec<Part>,
) -> Vec<(usize, Vec<usize>)> {
    let arguments = command.words().get(1..).unwrap_or_default();
    if arguments.is_empty() {
        // Redis says what is missing.
        parts.push(part(command.clone(), To::Any));
        return vec![(parts.len() - 1, Vec::new())];
    }
    let mut found: HashMap<u16, usize> = HashMap::new();
    let mut slots: Vec<(u16, Vec<Vec<u8>>, Vec<usize>)> = Vec::new();
    for (place, words) in arguments.chunks(step).enumerate() {
        let slot = words.first().map_or(0, |key| slot_of(key));
        let at = *found.entry(slot).or_insert_with(|| {
            slots.push((slot, vec![name.as_bytes().to_vec()], Vec::new()));
            slots.len() - 1
        });
        if let Some((_, all, places)) = slots.get_mut(at) {
            all.extend_from_slice(words);
            places.push(place);
        }
    }
    slots
        .into_iter()
        .filter_map(|(slot, words, places)| {
            parts.push(part(Command::from_words(words)?, To::Slot(slot)));
            Some((parts.len() - 1, places))
        })
        .collect()
}

fn everywhere(command: &Command, map: &Map, parts: &mut Vec<Part>) -> Vec<usize> {
    let begin = parts.len();
    parts.extend(map.masters.iter().map(|to| part(command.clone(), To::Node(to.clone()))));
    (begin..parts.len()).collect()
}

/// A cursor says at which master it goes on: Redis's own cursor there, times `MASTERS_MAX`, plus the
/// master's place.
fn scan(mut command: Command, map: &Map, parts: &mut Vec<Part>) -> Gather {
    let Some(cursor) = command.text(1).and_then(|text| text.parse::<u64>().ok()) else {
        return Gather::Refused("ERR invalid cursor".to_owned());
    };
    let master = usize::try_from(cursor % MASTERS_MAX).unwrap_or_default();
    let Some(address) = map.masters.get(master) else {
        return Gather::Refused("ERR invalid cursor: the cluster has fewer masters now".to_owned());
    };
    command.replace(1, (cursor / MASTERS_MAX).to_string().into_bytes());
    parts.push(part(command, To::Node(address.clone())));
    Gather::Scan { part: parts.len() - 1, master, masters: map.masters.len() }
}

impl Gather {
    /// Takes what it needs of the replies; no two gathers have a part in common.
    fn reply(self, replies: &mut [Reply]) -> Reply {
        let mut of = |part: usize| {
            replies.get_mut(part).map_or(Reply::Null, |reply| std::mem::replace(reply, Reply::Null))
        };
        match self {
            Self::One(part) => of(part),
            Self::Refused(text) => Reply::Error(text),
            Self::AllOk(parts) => match whole(parts, of) {
                Ok(replies) => replies.into_iter().next().unwrap_or(Reply::Null),
                Err(error) => error,
            },
            Self::AnyOk(parts) => {
                let all: Vec<Reply> = parts.into_iter().map(of).collect();
                let good = all.iter().position(|reply| !matches!(reply, Reply::Error(_)));
                all.into_iter().nth(good.unwrap_or(0)).unwrap_or(Reply::Null)
            }
            Self::FirstSome(parts) => {
                parts.into_iter().map(of).find(|reply| *reply != Reply::Null).unwrap_or(Reply::Null)
            }
            Self::Sum(parts) => match whole(parts, of) {
                Ok(replies) => Reply::Integer(replies.iter().map(integer).sum()),
                Err(error) => error,
            },
            Self::Concat(parts) => match whole(parts, of) {
                Ok(replies) => Reply::Array(replies.into_iter().flat_map(array).collect()),
                Err(error) => error,
            },
            Self::Min(parts) => match whole(parts, of) {
                Ok(replies) => {
                    let columns: Vec<Vec<Reply>> = replies.into_iter().map(array).collect();
                    let count = columns.first().map_or(0, Vec::len);
                    let least = |place: usize| {
                        columns.iter().filter_map(|column| column.get(place)).map(integer).min()
                    };
                    Reply::Array((0..count).filter_map(least).map(Reply::Integer).collect())
                }
                Err(error) => error,
            },
            Self::Interleave { parts, count } => {
                let (numbers, places): (Vec<usize>, Vec<Vec<usize>>) = parts.into_iter().unzip();
                let replies = match whole(numbers, of) {
                    Ok(replies) => replies,
                    Err(error) => return error,
                };
                let mut values: Vec<Reply> = (0..count).map(|_| Reply::Null).collect();
                for (places, reply) in places.into_iter().zip(replies) {
                    for (place, value) in places.into_iter().zip(array(reply)) {
                        if let Some(slot) = values.get_mut(place) {
                            *slot = value;
                        }
                    }
                }
                Reply::Array(values)
            }
            Self::Scan { part, master, masters } => match of(part) {
                Reply::Array(mut answer) => {
                    let next = answer.first().and_then(Reply::as_text);
                    let next = match next.and_then(|text| text.parse::<u64>().ok()) {
                        Some(0) if master + 1 == masters => Some(0),
                        Some(0) => u64::try_from(master + 1).ok(),
                        Some(cursor) => cursor
                            .checked_mul(MASTERS_MAX)
                            .and_then(|cursor| cursor.checked_add(u64::try_from(master).ok()?)),
                        None => None,
                    };
                    match (next, answer.first_mut()) {
                        (Some(next), Some(first)) => *first = Reply::text(&next.to_string()),
                        _ => return Reply::Error("ERR the cursor is too large".to_owned()),
                    }
                    Reply::Array(answer)
                }
                other => other,
            },
        }
    }
}

/// All replies, or the first error among them.
fn whole(parts: Vec<usize>, of: impl FnMut(usize) -> Reply) -> Result<Vec<Reply>, Reply> {
    let replies = parts.into_iter().map(of).map(|reply| match reply {
        Reply::Error(_) => Err(reply),
        reply => Ok(reply),
    });
    replies.collect()
}

fn integer(reply: &Reply) -> i64 {
    match reply {
        Reply::Integer(number) => *number,
        _ => 0,
    }
}

fn array(reply: Reply) -> Vec<Reply> {
    match reply {
        Reply::Array(values) => values,
        _ => Vec::new(),
    }
}

const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
/// More masters than a Cluster should have.
const MASTERS_MAX: u64 = 1024;
const REFRESH_EVERY: Duration = Duration::from_secs(10);
const REFRESH_PARTIAL: Duration = Duration::from_secs(1);
const REFRESH_MAX: Duration = Duration::from_secs(1);
/// Between two looks, however many ask for one.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);
/// What must be left until the deadline for another try: one that is cut off by it leaves open what was done.
const RETRY_MARGIN: Duration = Duration::from_millis(150);
const RETRY_PAUSE: Duration = Duration::from_millis(25);
const SLOTS: u16 = 16384;
/// How often a command is redirected at the most.
const TURNS_MAX: usize = 16;
/// Commands that one node alone would answer wrongly.
const GO_EVERYWHERE: [&str; 8] =
    ["DBSIZE", "FLUSHALL", "FLUSHDB", "FUNCTION", "KEYS", "RANDOMKEY", "SCAN", "SCRIPT"];

#[cfg(test)]
mod tests;
