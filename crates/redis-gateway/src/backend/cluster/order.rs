//! The order of the parts of one request: which part must not overtake which.
//!
//! A part follows each earlier one with a key of its own, if either of the two writes. One node
//! runs in order what one connection sends it. So a part goes together with those that it follows
//! if all go to one node, and otherwise waits for their replies.

use super::plan::{Part, keys};
use std::collections::{BTreeSet, HashMap};

/// The parts of one request that have no final outcome yet, and their order.
pub struct Order {
    /// For each part, the later parts that follow it.
    followers: Vec<Vec<usize>>,
    /// For each part, how many unfinished parts it follows.
    blockers: Vec<usize>,
    is_finished: Vec<bool>,
    /// The unfinished parts that follow no unfinished one.
    front: BTreeSet<usize>,
}

/// Where a part goes in one round.
#[derive(Clone, Copy)]
pub struct Placement {
    /// The number of the node.
    pub node: usize,
    /// Whether later parts with its keys wait for its reply.
    pub goes_ahead: bool,
}

/// A part that follows others, in one round.
struct Following {
    /// How many of the unfinished parts that it follows are not sent in this round.
    unsent: usize,
    /// The node of those that are sent; `None` if they go to several.
    node: Option<usize>,
}

/// The parts so far that use a key.
#[derive(Default)]
struct KeyUse {
    last_writer: Option<usize>,
    readers_since: Vec<usize>,
}

impl Order {
    /// Reads the order of all parts from their keys.
    pub fn new(parts: &[Part]) -> Self {
        let count = parts.len();
        let mut order = Self {
            followers: vec![Vec::new(); count],
            blockers: vec![0; count],
            is_finished: vec![false; count],
            front: (0..count).collect(),
        };
        let mut uses: HashMap<&[u8], KeyUse> = HashMap::new();
        for (index, part) in parts.iter().enumerate() {
            for key in keys(&part.command) {
                let used = uses.entry(key).or_default();
                if !part.writes {
                    used.last_writer.into_iter().for_each(|writer| order.follow(writer, index));
                    used.readers_since.push(index);
                    continue;
                }
                // The readers follow the last writer themselves.
                if used.readers_since.is_empty() {
                    used.last_writer.into_iter().for_each(|writer| order.follow(writer, index));
                }
                used.readers_since.drain(..).for_each(|reader| order.follow(reader, index));
                used.last_writer = Some(index);
            }
        }
        order.front.retain(|part| order.blockers.get(*part).is_some_and(|blockers| *blockers == 0));
        order
    }

    /// Notes that a part follows an earlier one. A part that names a key twice does not follow
    /// itself.
    fn follow(&mut self, earlier: usize, later: usize) {
        let Some(followers) = self.followers.get_mut(earlier) else { return };
        // Parts come in order, so a second key of the same two parts is noticed here.
        if earlier == later || followers.last() == Some(&later) {
            return;
        }
        followers.push(later);
        if let Some(blockers) = self.blockers.get_mut(later) {
            *blockers += 1;
        }
    }

    /// Returns whether every part has its final outcome.
    pub fn is_complete(&self) -> bool {
        // An unfinished part follows others up to one that is at the front.
        self.front.is_empty()
    }

    /// Returns whether a part has its final outcome.
    pub fn is_finished(&self, part: usize) -> bool {
        self.is_finished.get(part).is_some_and(|is_finished| *is_finished)
    }

    /// Notes that a part has its final outcome. Those that follow it then wait for it no longer.
    pub fn finish(&mut self, part: usize) {
        self.finish_and_release(part);
    }

    /// Finishes a part, and returns the parts that come to the front by that.
    fn finish_and_release(&mut self, part: usize) -> Vec<usize> {
        if let Some(is_finished) = self.is_finished.get_mut(part) {
            *is_finished = true;
        }
        self.front.remove(&part);
        let (mut freed, mut released) = (vec![part], Vec::new());
        while let Some(part) = freed.pop() {
            // A part may get its final outcome while one that it follows is still to be sent again.
            // Its own followers must wait for that one, too.
            if self.blockers.get(part).is_none_or(|blockers| *blockers > 0) {
                continue;
            }
            for follower in self.followers.get_mut(part).map(std::mem::take).unwrap_or_default() {
                let Some(blockers) = self.blockers.get_mut(follower) else { continue };
                *blockers = blockers.saturating_sub(1);
                if *blockers > 0 {
                    continue;
                }
                if self.is_finished(follower) {
                    freed.push(follower);
                } else {
                    self.front.insert(follower);
                    released.push(follower);
                }
            }
        }
        released
    }

    /// Returns the parts to send now, in order, each with the number of its node.
    ///
    /// `place` returns `None` for a part that no node can run, which is then finished.
    pub fn next_round(
        &mut self,
        mut place: impl FnMut(usize) -> Option<Placement>,
    ) -> Vec<(usize, usize)> {
        let mut round = Vec::new();
        let mut following: HashMap<usize, Following> = HashMap::new();
        let mut candidates = self.front.clone();
        // What is added meanwhile comes after the part that it follows, so all are in order.
        while let Some(part) = candidates.pop_first() {
            let Some(Placement { node, goes_ahead }) = place(part) else {
                candidates.extend(self.finish_and_release(part));
                continue;
            };
            if following.get(&part).is_some_and(|following| following.node != Some(node)) {
                continue;
            }
            round.push((part, node));
            if goes_ahead {
                continue;
            }
            for follower in self.followers.get(part).into_iter().flatten() {
                let blockers = self.blockers.get(*follower).copied().unwrap_or_default();
                let following = following
                    .entry(*follower)
                    .or_insert(Following { unsent: blockers, node: Some(node) });
                following.unsent = following.unsent.saturating_sub(1);
                if following.node != Some(node) {
                    following.node = None;
                }
                if following.unsent == 0 && !self.is_finished(*follower) {
                    candidates.insert(*follower);
                }
            }
        }
        round
    }
}

#[cfg(test)]
mod tests;
