//! Splits a command into parts for the nodes of a Cluster.

use super::hash_slot::hash_slot;
use super::merge::{CURSOR_STRIDE, Merge, SlotGroup};
use super::slot_map::SlotMap;
use crate::command::{self, Access, Family, argument_is};
use crate::redis_url::Address;
use redis_rest::Command;
use std::collections::HashMap;

/// A command, or the part of it that one node runs.
pub struct Part {
    pub command: Command,
    pub target: Target,
    /// Whether it has several keys. While their slot moves, they may be on two nodes. Then this
    /// part waits, and so do those that follow it.
    pub has_several_keys: bool,
    pub writes: bool,
    /// Whether it runs a script, whose errors may be its own.
    pub is_script: bool,
}

/// Where a part runs.
#[derive(Clone)]
pub enum Target {
    AnyMaster,
    Node(Address),
    Slot(u16),
}

/// Splits a command into parts, appends them to `parts`, and returns how to merge their replies.
///
/// `turn` selects the master whose reply to RANDOMKEY is preferred.
pub fn split(command: Command, map: &SlotMap, turn: usize, parts: &mut Vec<Part>) -> Merge {
    let name = command.name().to_ascii_uppercase();
    let subcommand_is = |name: &str| argument_is(&command, 1, name);
    match name.as_str() {
        "DEL" | "EXISTS" | "TOUCH" | "UNLINK" => {
            Merge::Sum(indexes(split_by_slot(&name, &command, 1, parts)))
        }
        "MGET" => Merge::Interleave {
            count: command.words().len().saturating_sub(1),
            groups: split_by_slot(&name, &command, 1, parts),
        },
        "MSET" if command.words().len() % 2 == 1 => {
            Merge::AllOk(indexes(split_by_slot(&name, &command, 2, parts)))
        }
        "DBSIZE" => Merge::Sum(copy_to_all_masters(&command, map, parts)),
        "KEYS" => Merge::Concat(copy_to_all_masters(&command, map, parts)),
        "RANDOMKEY" => {
            let mut masters = copy_to_all_masters(&command, map, parts);
            let turn = turn % masters.len().max(1);
            masters.rotate_left(turn);
            Merge::FirstSome(masters)
        }
        "FLUSHALL" | "FLUSHDB" => Merge::AllOk(copy_to_all_masters(&command, map, parts)),
        "FUNCTION" | "SCRIPT" if subcommand_is("KILL") => {
            Merge::AnyOk(copy_to_all_masters(&command, map, parts))
        }
        "FUNCTION"
            if !subcommand_is("DUMP") && !subcommand_is("LIST") && !subcommand_is("STATS") =>
        {
            Merge::AllOk(copy_to_all_masters(&command, map, parts))
        }
        "SCRIPT" if subcommand_is("EXISTS") => {
            Merge::Min(copy_to_all_masters(&command, map, parts))
        }
        "SCRIPT" => Merge::AllOk(copy_to_all_masters(&command, map, parts)),
        "SCAN" => split_scan(command, map, parts),
        _ => match slot(&command) {
            Ok(slot) => {
                let target = slot.map_or(Target::AnyMaster, Target::Slot);
                parts.push(Part::new(command, target));
                Merge::One(parts.len() - 1)
            }
            Err(error) => Merge::Rejected(error),
        },
    }
}

/// Returns the slot of a command's keys; `None` if it has no key. Keys in several slots are an
/// error.
pub fn slot(command: &Command) -> Result<Option<u16>, String> {
    let mut slots = keys(command).into_iter().map(hash_slot);
    let first = slots.next();
    match first {
        Some(first) if slots.any(|slot| slot != first) => Err(CROSS_SLOT.to_owned()),
        first => Ok(first),
    }
}

/// Returns a command's keys. Treats the first argument of an unknown command as its key.
///
/// Most commands of modules have their key there.
pub fn keys(command: &Command) -> Vec<&[u8]> {
    // Every node forwards a published message. Its channel counts as a key only for permissions.
    if argument_is(command, 0, "PUBLISH") {
        return Vec::new();
    }
    command::keys(command)
        .unwrap_or_else(|| command.words().get(1).map(Vec::as_slice).into_iter().collect())
}

/// Appends a copy of a command for each master, and returns the indexes of these parts.
fn copy_to_all_masters(command: &Command, map: &SlotMap, parts: &mut Vec<Part>) -> Vec<usize> {
    let first = parts.len();
    let masters = map.masters.iter().cloned();
    parts.extend(masters.map(|master| Part::new(command.clone(), Target::Node(master))));
    (first..parts.len()).collect()
}

impl Part {
    fn new(command: Command, target: Target) -> Self {
        let spec = command::find(command.name());
        Self {
            has_several_keys: keys(&command).len() > 1,
            writes: spec.is_none_or(|spec| spec.access != Access::Read),
            is_script: spec.is_some_and(|spec| spec.family == Family::Scripting),
            command,
            target,
        }
    }
}

/// The arguments of a command whose keys are in one slot.
struct SlotArguments {
    slot: u16,
    /// The command's name, and the arguments.
    words: Vec<Vec<u8>>,
    positions: Vec<usize>,
}

/// Appends a command of the same name for each slot, with the keys of that slot.
///
/// Each key comes with `step - 1` further arguments, such as its value.
fn split_by_slot(
    name: &str,
    command: &Command,
    step: usize,
    parts: &mut Vec<Part>,
) -> Vec<SlotGroup> {
    let arguments = command.words().get(1..).unwrap_or_default();
    if arguments.is_empty() {
        // Redis itself reports the missing arguments.
        parts.push(Part::new(command.clone(), Target::AnyMaster));
        return vec![SlotGroup { part: parts.len() - 1, positions: Vec::new() }];
    }
    let mut indexes: HashMap<u16, usize> = HashMap::new();
    let mut slots: Vec<SlotArguments> = Vec::new();
    for (position, arguments) in arguments.chunks(step).enumerate() {
        let slot = arguments.first().map_or(0, |key| hash_slot(key));
        let index = *indexes.entry(slot).or_insert_with(|| {
            let words = vec![name.as_bytes().to_vec()];
            slots.push(SlotArguments { slot, words, positions: Vec::new() });
            slots.len() - 1
        });
        if let Some(group) = slots.get_mut(index) {
            group.words.extend_from_slice(arguments);
            group.positions.push(position);
        }
    }
    slots
        .into_iter()
        .filter_map(|SlotArguments { slot, words, positions }| {
            parts.push(Part::new(Command::from_words(words)?, Target::Slot(slot)));
            Some(SlotGroup { part: parts.len() - 1, positions })
        })
        .collect()
}

/// Sends SCAN to the master that its cursor names. See [`CURSOR_STRIDE`].
fn split_scan(mut command: Command, map: &SlotMap, parts: &mut Vec<Part>) -> Merge {
    let Some(cursor) = command.text(1).and_then(|text| text.parse::<u64>().ok()) else {
        return Merge::Rejected("ERR invalid cursor".to_owned());
    };
    let master = usize::try_from(cursor % CURSOR_STRIDE).unwrap_or_default();
    let Some(address) = map.masters.get(master) else {
        let text = "ERR invalid cursor: the cluster has fewer masters now";
        return Merge::Rejected(text.to_owned());
    };
    command.replace(1, (cursor / CURSOR_STRIDE).to_string().into_bytes());
    parts.push(Part::new(command, Target::Node(address.clone())));
    Merge::Scan { part: parts.len() - 1, master, masters: map.masters.len() }
}

fn indexes(groups: Vec<SlotGroup>) -> Vec<usize> {
    groups.into_iter().map(|group| group.part).collect()
}

/// The error for each command of a request that would become more than [`PARTS_MAX`] parts.
pub const TOO_MANY_PARTS: &str = "ERR too many commands for the nodes of the cluster; send fewer";
/// The most parts of one request: more than the commands of a pipeline, or the slots of a command.
/// Without this limit, a pipeline of commands for every master of a large Cluster could become
/// millions of parts.
pub const PARTS_MAX: usize = 1 << 16;
/// The error for a command whose keys are in several slots, in Redis's own words.
pub const CROSS_SLOT: &str = "CROSSSLOT Keys in request don't hash to the same slot";
/// Commands that a single node would answer only for itself.
pub const ALL_MASTER_COMMANDS: [&str; 8] =
    ["DBSIZE", "FLUSHALL", "FLUSHDB", "FUNCTION", "KEYS", "RANDOMKEY", "SCAN", "SCRIPT"];
