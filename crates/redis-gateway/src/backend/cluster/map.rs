//! Which node has which slot, as the nodes tell it, and what they say of a command that went to the wrong
//! one.

use super::plan::{Part, To};
use crate::redis_url::Address;
use redis_rest::Reply;
use std::collections::HashSet;

/// Which master has which slot.
#[derive(Default)]
pub struct Map {
    /// For each slot, the place of its master.
    owners: Vec<Option<u16>>,
    /// In the order of their first slots.
    pub masters: Vec<Address>,
    /// Every node that the cluster names: nobody else is ever connected to.
    pub known: HashSet<Address>,
}

/// What a node says that can't serve a command. It has not done it.
pub enum Redirect {
    Ask(u16, Address),
    /// Here, or elsewhere, in a moment.
    Later,
    Moved(u16, Address),
}

impl Redirect {
    pub fn read(text: &str, from: &Address) -> Option<Self> {
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
    pub fn is_of(&self, part: &Part, map: &Map, from: &Address) -> bool {
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
    pub fn read(slots: &Reply, nodes: &Reply, from: &Address) -> Option<Self> {
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
        (!map.masters.is_empty() && map.masters.len() < MASTERS_MAX).then_some(map)
    }

    pub fn owner(&self, slot: u16) -> Option<&Address> {
        let place = (*self.owners.get(usize::from(slot))?)?;
        self.masters.get(usize::from(place))
    }

    pub fn served(&self) -> usize {
        self.owners.iter().flatten().count()
    }

    pub fn is_whole(&self) -> bool {
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
pub fn slot_of(key: &[u8]) -> u16 {
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

/// More masters than a Cluster should have.
pub const MASTERS_MAX: usize = 1024;
const SLOTS: u16 = 16384;
