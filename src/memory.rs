//! A bounded set of what was seen lately.

use std::collections::HashSet;
use std::hash::Hash;

/// Remembers at least the last `generation_max` members, and at most twice as many. Two generations
/// make it so without a clock or a list: when the young one is full, the old one is forgotten.
pub struct Memory<T> {
    young: HashSet<T>,
    old: HashSet<T>,
    generation_max: usize,
}

impl<T: Eq + Hash + Copy> Memory<T> {
    /// An empty memory.
    pub fn new(generation_max: usize) -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), generation_max }
    }

    /// Whether `member` was seen lately; if so it stays for longer.
    pub fn recall(&mut self, member: T) -> bool {
        if self.young.contains(&member) {
            return true;
        }
        let known = self.old.contains(&member);
        if known {
            self.insert(member);
        }
        known
    }

    /// Remembers `member`.
    pub fn insert(&mut self, member: T) {
        if self.young.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(member);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut memory = Memory::new(2);
        for member in 0..3 {
            memory.insert(member);
        }
        assert!(memory.recall(0), "of the last generation, and renewed");
        memory.insert(3);
        assert!(memory.recall(0));
        assert!(!memory.recall(1));
        assert!(memory.young.len() + memory.old.len() <= 4);
    }
}
