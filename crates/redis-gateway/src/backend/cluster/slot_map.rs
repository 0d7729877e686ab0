//! The slot map: which master serves which hash slot, as reported by the nodes.

use super::hash_slot::HASH_SLOTS;
use crate::redis_url::Address;
use redis_rest::Reply;
use std::collections::HashSet;

/// Which master serves which hash slot.
#[derive(Default)]
pub struct SlotMap {
    /// For each slot, the index of its master.
    owners: Vec<Option<u16>>,
    /// The masters, in the order of their first slots.
    pub masters: Vec<Address>,
    /// Every node that the Cluster names. The gateway connects to no other host, apart from the
    /// seeds.
    pub known: HashSet<Address>,
}

impl SlotMap {
    /// Parses the replies to CLUSTER SLOTS and CLUSTER NODES from the node at `from`.
    ///
    /// Returns `None` if they are malformed or name no master.
    pub fn parse(slots: &Reply, nodes: &Reply, from: &Address) -> Option<Self> {
        let Reply::Array(ranges) = slots else { return None };
        let mut map = Self { owners: vec![None; usize::from(HASH_SLOTS)], ..Self::default() };
        let mut ranges: Vec<SlotRange> =
            ranges.iter().map(|range| SlotRange::parse(range, from)).collect::<Option<_>>()?;
        ranges.sort();
        for SlotRange { first, last, master } in ranges {
            let found = map.masters.iter().position(|known| *known == master);
            let index = u16::try_from(found.unwrap_or(map.masters.len())).ok()?;
            for slot in first..=last {
                *map.owners.get_mut(usize::from(slot))? = Some(index);
            }
            if found.is_none() {
                map.masters.push(master);
            }
        }
        map.known.extend(map.masters.iter().cloned());
        // CLUSTER NODES also lists a node that is about to get its first slot.
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

    /// Returns the master that serves a slot. Returns `None` if no master does.
    pub fn owner(&self, slot: u16) -> Option<&Address> {
        let index = (*self.owners.get(usize::from(slot))?)?;
        self.masters.get(usize::from(index))
    }

    /// Returns how many slots have a master.
    pub fn served_slots(&self) -> usize {
        self.owners.iter().flatten().count()
    }

    /// Returns whether every slot has a master.
    pub fn is_complete(&self) -> bool {
        self.served_slots() == usize::from(HASH_SLOTS)
    }
}

/// A range of slots and the master that serves it. Ranges sort by their first slot.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct SlotRange {
    first: u16,
    last: u16,
    master: Address,
}

impl SlotRange {
    fn parse(range: &Reply, from: &Address) -> Option<Self> {
        let Reply::Array(range) = range else { return None };
        let [Reply::Integer(first), Reply::Integer(last), Reply::Array(master), ..] =
            range.as_slice()
        else {
            return None;
        };
        let [host, Reply::Integer(port), ..] = master.as_slice() else { return None };
        // A node that does not know its own name means the address by which it was reached.
        let host = host.as_text().filter(|host| !host.is_empty() && *host != "?");
        let host = host.unwrap_or(&from.host).to_owned();
        let master = Address { host, port: u16::try_from(*port).ok()? };
        let slot = |slot: &i64| u16::try_from(*slot).ok().filter(|slot| *slot < HASH_SLOTS);
        Some(Self { first: slot(first)?, last: slot(last)?, master })
    }
}

/// A number above the 1,000 nodes that Redis recommends at most for a Cluster.
pub const MASTERS_MAX: usize = 1024;
