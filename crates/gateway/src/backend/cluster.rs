//! A Cluster: which node has which slot, and how a pipeline is divided among them. Only a command that a
//! node has refused (MOVED, ASK, TRYAGAIN …) is sent again; one whose fate is unknown never is.

use super::link::{Node, Outage, Source};
use super::{add, pack, transact};
use crate::command::{self, is};
use crate::metrics::Metrics;
use futures_util::future::join_all;
use redis::cluster_routing::Slot;
use redis::{Client, Pipeline};
use redis_rest::{Command, Reply};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

/// Where the nodes are found at first, and how each is spoken to.
pub struct Seeds {
    pub addresses: Vec<Address>,
    pub open: Box<Open>,
}

/// Makes a client for a node.
pub type Open = dyn Fn(&Address) -> Option<Client> + Send + Sync;

#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

pub struct Cluster {
    seeds: Seeds,
    connections: usize,
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
    owners: HashMap<Slot, Address>,
    /// In the order of their first slots.
    masters: Vec<Address>,
}

/// A command, or what one node does of it.
struct Part {
    command: Command,
    to: To,
}

#[derive(Clone)]
enum To {
    Any,
    Node(Address),
    Slot(Slot),
}

/// How a command's reply comes of its parts' replies. The numbers are places among the parts.
enum Gather {
    /// All went well, or the first error.
    AllOk(Vec<usize>),
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
    pub fn start(seeds: Seeds, connections: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let cluster = Arc::new(Self {
            seeds,
            connections,
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
                let wait = if found.is_ok() { REFRESH_EVERY } else { REFRESH_PAUSE };
                let _ = timeout(wait, cluster.stale.notified()).await;
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
        let mut parts = Vec::with_capacity(commands.len());
        let gathers: Vec<Gather> =
            commands.into_iter().map(|command| divide(command, &map, &mut parts)).collect();
        let outcomes = self.dispatch(&parts, &map, deadline).await;
        // If not one of the nodes answered, that is the news; otherwise each command has its own.
        if let Some(Err(outage)) = outcomes.first()
            && outcomes.iter().all(Result::is_err)
        {
            return Err(*outage);
        }
        let replies: Vec<Reply> =
            outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(outage_reply)).collect();
        Ok(gathers.into_iter().map(|gather| gather.reply(&replies)).collect())
    }

    pub async fn run_atomically(
        &self,
        commands: &[Command],
        deadline: Instant,
    ) -> Result<Reply, Outage> {
        let mut slots = Vec::new();
        for command in commands {
            match slot(command) {
                Ok(Some(slot)) => slots.push(slot),
                Ok(None) => {}
                Err(text) => return Ok(Reply::Error(text)),
            }
        }
        if slots.windows(2).any(|two| matches!(two, [a, b] if a != b)) {
            return Ok(Reply::Error(format!("{CROSS_SLOT}: a transaction runs on one node")));
        }
        let map = self.known(deadline).await?;
        let to = slots.first().map_or(To::Any, |slot| To::Slot(*slot));
        let mut address = self.address(&to, &map).ok_or(Outage::Unreachable)?;
        for _ in 0..ROUNDS_MAX {
            let done = transact(&*self.node(&address)?, commands, deadline).await?;
            // Redirected when it was queued, or at EXEC: in either case nothing of it was done.
            let text = match (&done.refused, &done.reply) {
                (Some(text), _) | (None, Reply::Error(text)) => text,
                (None, _) => return Ok(done.reply),
            };
            match Redirect::read(text, &address) {
                Some(Redirect::Moved(to)) => {
                    self.stale.notify_one();
                    address = to;
                }
                // The commands of a transaction can't each be preceded by ASKING: it waits until the
                // slot has moved.
                Some(Redirect::Ask(_) | Redirect::Later) => {
                    let later = Instant::now() + RETRY_PAUSE;
                    if later >= deadline {
                        return Ok(done.reply);
                    }
                    sleep_until(later).await;
                }
                None => return Ok(done.reply),
            }
        }
        Ok(Reply::Error("TRYAGAIN the cluster is being rearranged".to_owned()))
    }

    /// Some master.
    pub async fn any(&self, deadline: Instant) -> Result<Arc<Node>, Outage> {
        let map = self.known(deadline).await?;
        let address = self.address(&To::Any, &map).ok_or(Outage::Unreachable)?;
        self.node(&address)
    }

    /// Whether every master answers.
    pub async fn is_ready(&self, deadline: Instant) -> bool {
        let Ok(map) = self.known(deadline).await else { return false };
        let parts: Vec<Part> = map
            .masters
            .iter()
            .map(|master| Part { command: Command::new("PING"), to: To::Node(master.clone()) })
            .collect();
        let outcomes = self.dispatch(&parts, &map, deadline).await;
        outcomes.iter().all(|outcome| matches!(outcome, Ok(Reply::Status(text)) if text == "PONG"))
    }

    /// Sends each part to its node, the parts of one node in order and in one write, and again those
    /// that were redirected.
    async fn dispatch(
        &self,
        parts: &[Part],
        map: &Map,
        deadline: Instant,
    ) -> Vec<Result<Reply, Outage>> {
        let mut outcomes: Vec<Result<Reply, Outage>> =
            parts.iter().map(|_| Err(Outage::Unreachable)).collect();
        let mut pending: Vec<Pending> = parts
            .iter()
            .enumerate()
            .filter_map(|(part, Part { to, .. })| {
                let address = self.address(to, map)?;
                Some(Pending { part, address, asking: false })
            })
            .collect();
        for round in 0..ROUNDS_MAX {
            let mut groups: Vec<(Address, Vec<Pending>)> = Vec::new();
            for one in std::mem::take(&mut pending) {
                match groups.iter_mut().find(|(address, _)| *address == one.address) {
                    Some((_, group)) => group.push(one),
                    None => groups.push((one.address.clone(), vec![one])),
                }
            }
            let sent = groups.into_iter().map(|(address, group)| async move {
                let replies = self.send(parts, &address, &group, deadline).await;
                (group, replies)
            });
            let mut later = false;
            for (group, replies) in join_all(sent).await {
                let replies = match replies {
                    Ok(replies) => replies,
                    Err(outage) => {
                        self.stale.notify_one();
                        group.iter().for_each(|one| {
                            if let Some(outcome) = outcomes.get_mut(one.part) {
                                *outcome = Err(outage);
                            }
                        });
                        continue;
                    }
                };
                for (mut one, reply) in group.into_iter().zip(replies) {
                    let redirect = match &reply {
                        Reply::Error(text) => Redirect::read(text, &one.address),
                        _ => None,
                    };
                    if let Some(outcome) = outcomes.get_mut(one.part) {
                        *outcome = Ok(reply);
                    }
                    match redirect {
                        Some(Redirect::Moved(to)) => {
                            self.stale.notify_one();
                            (one.address, one.asking) = (to, false);
                        }
                        Some(Redirect::Ask(to)) => (one.address, one.asking) = (to, true),
                        Some(Redirect::Later) => later = true,
                        None => continue,
                    }
                    pending.push(one);
                }
            }
            pending.sort_by_key(|one| one.part);
            if pending.is_empty() || round + 1 == ROUNDS_MAX {
                break;
            }
            if later {
                if Instant::now() + RETRY_PAUSE >= deadline {
                    break;
                }
                sleep(RETRY_PAUSE).await;
            }
        }
        outcomes
    }

    async fn send(
        &self,
        parts: &[Part],
        address: &Address,
        group: &[Pending],
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let mut pipeline = Pipeline::with_capacity(group.len());
        pipeline.ignore_errors();
        let mut count = 0;
        for one in group {
            if one.asking {
                pipeline.cmd("ASKING");
                count += 1;
            }
            if let Some(part) = parts.get(one.part) {
                add(&mut pipeline, &part.command);
                count += 1;
            }
        }
        let mut replies = self.node(address)?.send(&pipeline, count, deadline).await?.into_iter();
        let replies: Vec<Reply> = group
            .iter()
            .filter_map(|one| if one.asking { replies.nth(1) } else { replies.next() })
            .collect();
        Ok(replies)
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

    fn address(&self, to: &To, map: &Map) -> Option<Address> {
        match to {
            To::Any => self.some_master(map),
            To::Node(address) => Some(address.clone()),
            To::Slot(slot) => map.owners.get(slot).cloned(),
        }
    }

    /// One that is up, if any is, each in its turn.
    fn some_master(&self, map: &Map) -> Option<Address> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let turned = map.masters.iter().cycle().skip(turn % map.masters.len().max(1));
        let mut masters = turned.take(map.masters.len());
        let is_up = |master: &&Address| self.node(master).is_ok_and(|node| node.is_up());
        masters.find(is_up).or(map.masters.first()).cloned()
    }

    fn node(&self, address: &Address) -> Result<Arc<Node>, Outage> {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = nodes.get(address) {
            return Ok(Arc::clone(node));
        }
        let client = (self.seeds.open)(address).ok_or(Outage::Unreachable)?;
        let metrics = Arc::clone(&self.metrics);
        let node =
            Arc::new(Node::start(Source::Fixed(Arc::new(client)), self.connections, metrics));
        nodes.insert(address.clone(), Arc::clone(&node));
        Ok(node)
    }

    /// Asks the nodes in turn for their map, until one tells it; or says why none does.
    async fn refresh(&self) -> Result<(), String> {
        let mut why = "no node answers".to_owned();
        let mut asked: Vec<Address> = self.map.borrow().masters.clone();
        asked.extend(self.seeds.addresses.iter().cloned());
        for address in asked {
            let Ok(node) = self.node(&address) else { continue };
            let slots = pack(&[Command::new("CLUSTER").arg("SLOTS")]);
            let deadline = Instant::now() + REFRESH_MAX;
            let Ok(mut replies) = node.send(&slots, 1, deadline).await else { continue };
            let reply = replies.pop().unwrap_or(Reply::Null);
            if let Some(map) = Map::read(&reply, &address) {
                self.nodes.lock().unwrap_or_else(PoisonError::into_inner).retain(|address, _| {
                    map.masters.contains(address) || self.seeds.addresses.contains(address)
                });
                self.map.send_replace(Arc::new(map));
                return Ok(());
            }
            if let Reply::Error(text) = reply {
                why = text;
            }
        }
        Err(why)
    }
}

struct Pending {
    part: usize,
    address: Address,
    asking: bool,
}

/// What a node says that can't serve a command. It has not done it.
enum Redirect {
    Ask(Address),
    /// Here, or elsewhere, in a moment.
    Later,
    Moved(Address),
}

impl Redirect {
    fn read(text: &str, from: &Address) -> Option<Self> {
        let (code, rest) = text.split_once(' ').unwrap_or((text, ""));
        let to = || {
            let (host, port) = rest.rsplit(' ').next()?.rsplit_once(':')?;
            // A node that does not know its own name means the one that it was reached by.
            let host = if host.is_empty() { &from.host } else { host };
            Some(Address { host: host.to_owned(), port: port.parse().ok()? })
        };
        match code {
            "MOVED" => to().map(Self::Moved),
            "ASK" => to().map(Self::Ask),
            "CLUSTERDOWN" | "LOADING" | "MASTERDOWN" | "READONLY" | "TRYAGAIN" => Some(Self::Later),
            _ => None,
        }
    }
}

impl Map {
    /// Reads the answer to CLUSTER SLOTS; none if it names no master.
    fn read(reply: &Reply, from: &Address) -> Option<Self> {
        let Reply::Array(ranges) = reply else { return None };
        let mut map = Self::default();
        let mut firsts: Vec<(u16, Address)> = Vec::new();
        for range in ranges {
            let Reply::Array(range) = range else { return None };
            let [Reply::Integer(first), Reply::Integer(last), Reply::Array(master), ..] =
                range.as_slice()
            else {
                return None;
            };
            let [host, Reply::Integer(port), ..] = master.as_slice() else { return None };
            let host = host.as_text().filter(|host| !host.is_empty() && *host != "?");
            let host = host.unwrap_or(&from.host).to_owned();
            let address = Address { host, port: u16::try_from(*port).ok()? };
            let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
            for slot in first..=last {
                map.owners.insert(Slot::new(slot)?, address.clone());
            }
            firsts.push((first, address));
        }
        firsts.sort();
        for (_, address) in firsts {
            if !map.masters.contains(&address) {
                map.masters.push(address);
            }
        }
        (!map.masters.is_empty()).then_some(map)
    }
}

/// The one slot of a command's keys; none if it has no key.
fn slot(command: &Command) -> Result<Option<Slot>, String> {
    // Of what is not known, the keys of a module's command: most have one, as their first argument.
    let keys = command::keys(command)
        .unwrap_or_else(|| command.words().get(1).map(Vec::as_slice).into_iter().collect());
    let mut slots = keys.into_iter().map(Slot::for_key);
    let first = slots.next();
    match first {
        Some(first) if slots.any(|slot| slot != first) => Err(CROSS_SLOT.to_owned()),
        first => Ok(first),
    }
}

/// Makes the parts of a command, and says how its reply comes of theirs.
fn divide(command: Command, map: &Map, parts: &mut Vec<Part>) -> Gather {
    let name = command.name().to_ascii_uppercase();
    let sub = |name: &str| is(&command, 1, name);
    match name.as_str() {
        "DEL" | "EXISTS" | "TOUCH" | "UNLINK" => Gather::Sum(
            by_slot(&name, &command, 1, parts).into_iter().map(|(part, _)| part).collect(),
        ),
        "MGET" => Gather::Interleave {
            count: command.words().len().saturating_sub(1),
            parts: by_slot(&name, &command, 1, parts),
        },
        "MSET" if command.words().len() % 2 == 1 => Gather::AllOk(
            by_slot(&name, &command, 2, parts).into_iter().map(|(part, _)| part).collect(),
        ),
        "DBSIZE" => Gather::Sum(everywhere(&command, map, parts)),
        "KEYS" => Gather::Concat(everywhere(&command, map, parts)),
        "RANDOMKEY" => Gather::FirstSome(everywhere(&command, map, parts)),
        "FLUSHALL" | "FLUSHDB" => Gather::AllOk(everywhere(&command, map, parts)),
        "FUNCTION" if !sub("DUMP") && !sub("LIST") && !sub("STATS") => {
            Gather::AllOk(everywhere(&command, map, parts))
        }
        "SCRIPT" if sub("EXISTS") => Gather::Min(everywhere(&command, map, parts)),
        "SCRIPT" => Gather::AllOk(everywhere(&command, map, parts)),
        "SCAN" => scan(command, map, parts),
        _ => match slot(&command) {
            Ok(slot) => {
                parts.push(Part { command, to: slot.map_or(To::Any, To::Slot) });
                Gather::One(parts.len() - 1)
            }
            Err(text) => Gather::Refused(text),
        },
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
        parts.push(Part { command: command.clone(), to: To::Any });
        return vec![(parts.len() - 1, Vec::new())];
    }
    let mut slots: Vec<(Slot, Command, Vec<usize>)> = Vec::new();
    for (place, words) in arguments.chunks(step).enumerate() {
        let Some(key) = words.first() else { continue };
        let slot = Slot::for_key(key);
        let found = slots.iter().position(|(other, ..)| *other == slot);
        let found = found.unwrap_or_else(|| {
            slots.push((slot, Command::new(name), Vec::new()));
            slots.len() - 1
        });
        if let Some((_, command, places)) = slots.get_mut(found) {
            let whole = std::mem::replace(command, Command::new(name));
            *command = words.iter().fold(whole, |command, word| command.arg_bytes(word.as_slice()));
            places.push(place);
        }
    }
    slots
        .into_iter()
        .map(|(slot, command, places)| {
            parts.push(Part { command, to: To::Slot(slot) });
            (parts.len() - 1, places)
        })
        .collect()
}

fn everywhere(command: &Command, map: &Map, parts: &mut Vec<Part>) -> Vec<usize> {
    let begin = parts.len();
    parts.extend(
        map.masters.iter().map(|to| Part { command: command.clone(), to: To::Node(to.clone()) }),
    );
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
    parts.push(Part { command, to: To::Node(address.clone()) });
    Gather::Scan { part: parts.len() - 1, master, masters: map.masters.len() }
}

impl Gather {
    fn reply(self, replies: &[Reply]) -> Reply {
        let of = |part: usize| replies.get(part).cloned().unwrap_or(Reply::Null);
        let error = |parts: &[usize]| {
            parts.iter().map(|part| of(*part)).find(|reply| matches!(reply, Reply::Error(_)))
        };
        match self {
            Self::One(part) => of(part),
            Self::Refused(text) => Reply::Error(text),
            Self::AllOk(parts) => {
                error(&parts).unwrap_or_else(|| parts.first().map_or(Reply::Null, |part| of(*part)))
            }
            Self::FirstSome(parts) => {
                parts.into_iter().map(of).find(|reply| *reply != Reply::Null).unwrap_or(Reply::Null)
            }
            Self::Sum(parts) => error(&parts).unwrap_or_else(|| {
                Reply::Integer(parts.into_iter().map(of).map(|reply| integer(&reply)).sum())
            }),
            Self::Concat(parts) => error(&parts).unwrap_or_else(|| {
                Reply::Array(parts.into_iter().map(of).flat_map(array).collect())
            }),
            Self::Min(parts) => error(&parts).unwrap_or_else(|| {
                let columns: Vec<Vec<Reply>> = parts.into_iter().map(of).map(array).collect();
                let count = columns.first().map_or(0, Vec::len);
                let least = |place: usize| {
                    columns.iter().filter_map(|column| column.get(place)).map(integer).min()
                };
                Reply::Array((0..count).filter_map(least).map(Reply::Integer).collect())
            }),
            Self::Interleave { parts, count } => {
                let numbers: Vec<usize> = parts.iter().map(|(part, _)| *part).collect();
                error(&numbers).unwrap_or_else(|| {
                    let mut values: Vec<Reply> = (0..count).map(|_| Reply::Null).collect();
                    for (part, places) in parts {
                        for (place, value) in places.into_iter().zip(array(of(part))) {
                            if let Some(slot) = values.get_mut(place) {
                                *slot = value;
                            }
                        }
                    }
                    Reply::Array(values)
                })
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

fn outage_reply(outage: Outage) -> Reply {
    Reply::Error(outage.text().to_owned())
}

const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
/// More masters than a Cluster should have.
const MASTERS_MAX: u64 = 1024;
const REFRESH_EVERY: Duration = Duration::from_secs(10);
const REFRESH_MAX: Duration = Duration::from_secs(1);
/// Between two looks, however many ask for one.
const REFRESH_PAUSE: Duration = Duration::from_millis(100);
const RETRY_PAUSE: Duration = Duration::from_millis(25);
/// How often a command is sent again at the most, each time after a node refused it.
const ROUNDS_MAX: usize = 40;

#[cfg(test)]
mod tests;
