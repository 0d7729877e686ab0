//! What was seen lately, within a bound.

use std::collections::HashMap;
use std::hash::Hash;

/// A map that forgets. Two generations make it so without a clock or a list: when the young one is full,
/// by number or by weight, the old one is forgotten; what is recalled stays for longer.
pub struct GenerationalCache<K, V> {
    young: HashMap<K, V>,
    young_weight: usize,
    old: HashMap<K, V>,
    count_max: usize,
    weight_max: usize,
}

impl<K: Eq + Hash + Copy, V: Clone> GenerationalCache<K, V> {
    /// An empty cache of at most `count_max` entries and `weight_max` bytes a generation.
    pub fn new(count_max: usize, weight_max: usize) -> Self {
        Self { young: HashMap::new(), young_weight: 0, old: HashMap::new(), count_max, weight_max }
    }

    /// What is known of `key`. The caller says what it weighs, should it be an old one.
    pub fn get(&mut self, key: K, weight: impl Fn(&V) -> usize) -> Option<V> {
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
    pub fn update(&mut self, key: K, change: impl FnOnce(&mut V)) {
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
        let mut cache = GenerationalCache::new(2, 100);
        let known = |cache: &mut GenerationalCache<_, _>, key| cache.get(key, |_| 1).is_some();
        for key in 0..3 {
            cache.insert(key, key, 1);
        }
        assert!(known(&mut cache, 0), "of the last generation, and renewed");
        cache.insert(3, 3, 1);
        assert!(known(&mut cache, 0));
        assert!(!known(&mut cache, 1));
        cache.update(0, |value| *value = 7);
        assert_eq!(cache.get(0, |_| 1), Some(7));
        assert!(cache.young.len() + cache.old.len() <= 4);
    }

    #[test]
    fn weight_is_bounded_too() {
        let mut cache = GenerationalCache::new(1000, 100);
        for key in 0..1000 {
            cache.insert(key, (), 40);
            assert!(cache.young_weight <= 100 && cache.young.len() + cache.old.len() <= 4);
        }
        cache.insert(1000, (), 101);
        assert!(cache.get(1000, |_| 101).is_some(), "one that is too heavy is alone");
        cache.insert(1000, (), 101);
        assert!(cache.young.len() <= 1);
    }
}
