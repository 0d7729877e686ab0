//! How a command is divided among nodes, and how its reply comes of theirs.

use super::map::{MASTERS_MAX, Map, slot_of};
use crate::command::{self, Access, Family, is};
use crate::redis_url::Address;
use redis_rest::{Command, Reply};
use std::collections::HashMap;

/// A command, or what one node does of it.
pub struct Part {
    pub command: Command,
    pub to: To,
    /// Whether it has several keys. One of them may have moved already, and another not: then it waits,
    /// and what comes behind it on these keys must wait, too.
    pub has_several_keys: bool,
    pub writes: bool,
    /// A script's errors are its own.
    pub is_script: bool,
}

#[derive(Clone)]
pub enum To {
    Any,
    Node(Address),
    Slot(u16),
}

/// How a command's reply comes of its parts' replies. The numbers are places among the parts.
pub enum Gather {
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

/// The one slot of a command's keys; none if it has no key.
pub fn slot(command: &Command) -> Result<Option<u16>, String> {
    let mut slots = keys(command).into_iter().map(slot_of);
    let first = slots.next();
    match first {
        Some(first) if slots.any(|slot| slot != first) => Err(CROSS_SLOT.to_owned()),
        first => Ok(first),
    }
}

/// Of what is not known, the keys of a module's command: most have one, as their first argument.
pub fn keys(command: &Command) -> Vec<&[u8]> {
    // Any node passes on what is published; a channel counts as a key for tokens alone.
    if is(command, 0, "PUBLISH") {
        return Vec::new();
    }
    command::keys(command)
        .unwrap_or_else(|| command.words().get(1).map(Vec::as_slice).into_iter().collect())
}

/// Makes the parts of a command, and says how its reply comes of theirs.
pub fn divide(command: Command, map: &Map, turn: usize, parts: &mut Vec<Part>) -> Gather {
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
        has_several_keys: keys(&command).len() > 1,
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

pub fn everywhere(command: &Command, map: &Map, parts: &mut Vec<Part>) -> Vec<usize> {
    let begin = parts.len();
    parts.extend(map.masters.iter().map(|to| part(command.clone(), To::Node(to.clone()))));
    (begin..parts.len()).collect()
}

/// A cursor says at which master it goes on: Redis's own cursor there, times `CURSORS`, plus the
/// master's place.
fn scan(mut command: Command, map: &Map, parts: &mut Vec<Part>) -> Gather {
    let Some(cursor) = command.text(1).and_then(|text| text.parse::<u64>().ok()) else {
        return Gather::Refused("ERR invalid cursor".to_owned());
    };
    let master = usize::try_from(cursor % CURSORS).unwrap_or_default();
    let Some(address) = map.masters.get(master) else {
        return Gather::Refused("ERR invalid cursor: the cluster has fewer masters now".to_owned());
    };
    command.replace(1, (cursor / CURSORS).to_string().into_bytes());
    parts.push(part(command, To::Node(address.clone())));
    Gather::Scan { part: parts.len() - 1, master, masters: map.masters.len() }
}

impl Gather {
    /// Takes what it needs of the replies; no two gathers have a part in common.
    pub fn reply(self, replies: &mut [Reply]) -> Reply {
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
                            .checked_mul(CURSORS)
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

pub const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
/// As many masters a cursor can name.
const CURSORS: u64 = MASTERS_MAX as u64;
/// Commands that one node alone would answer wrongly.
pub const GO_EVERYWHERE: [&str; 8] =
    ["DBSIZE", "FLUSHALL", "FLUSHDB", "FUNCTION", "KEYS", "RANDOMKEY", "SCAN", "SCRIPT"];
