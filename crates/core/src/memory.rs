//! What was seen lately, within a bound.

use std::collections::HashMap;
use std::hash::Hash;

/// A map that forgets. Two generations make it so without a clock or a list: when the young one is full,
/// by number or by weight, the old one is forgotten; what is recalled stays for longer.
pub struct Memory<K, V> {
    young: HashMap<K, V>,
    young_weight: usize,
    old: HashMap<K, V>,
    count_max: usize,
    weight_max: usize,
}

impl<K: Eq + Hash + Copy, V: Clone> Memory<K, V> {
    /// An empty memory of at most `count_max` entries and `weight_max` bytes a generation.
    pub fn new(count_max: usize, weight_max: usize) -> Self {
        Self { young: HashMap::new(), young_weight: 0, old: HashMap::new(), count_max, weight_max }
    }

    /// What is known of `key`. The caller says what it weighs, should it be an old one.
    pub fn recall(&mut self, key: K, weight: impl Fn(&V) -> usize) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(value.clone());
        }
        let value = self.old.remove(&key)?;
        self.insert(key, value.clone(), weight(&value));
        Some(value)
    }

    /// Remembers `value`.
    pub fn insert(&mut self, key: K, value: V, weight: usize) {
        if self.young.len() >= self.count_max || self.young_weight + weight > self.weight_max {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        if self.young.insert(key, value).is_none() {
            self.young_weight += weight;
        }
    }

    /// Changes what is known of `key`, if something is.
    pub fn change(&mut self, key: K, change: impl FnOnce(&mut V)) {
        if let Some(value) = self.young.get_mut(&key) {
            change(value);
        } else if let Some(value) = self.old.get_mut(&key) {
            change(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let mut memory = Memory::new(2, 100);
        let known = |memory: &mut Memory<_, _>, key| memory.recall(key, |_| 1).is_some();
        for key in 0..3 {
            memory.insert(key, key, 1);
        }
        assert!(known(&mut memory, 0), "of the last generation, and renewed");
        memory.insert(3, 3, 1);
        assert!(known(&mut memory, 0));
        assert!(!known(&mut memory, 1));
        memory.change(0, |value| *value = 7);
        assert_eq!(memory.recall(0, |_| 1), Some(7));
        assert!(memory.young.len() + memory.old.len() <= 4);
    }

    #[test]
    fn weight_is_bounded_too() {
        let mut memory = Memory::new(1000, 100);
        for key in 0..1000 {
            memory.insert(key, (), 40);
            assert!(memory.young_weight <= 100 && memory.young.len() + memory.old.len() <= 4);
        }
        memory.insert(1000, (), 101);
        assert!(memory.recall(1000, |_| 101).is_some(), "one that is too heavy is alone");
        memory.insert(1000, (), 101);
        assert!(memory.young.len() <= 1);
    }
}
