//! A bounded cache that works without a clock.

use std::collections::HashMap;
use std::hash::Hash;

/// A cache of two generations. When the young generation is full, by number or by weight, it
/// replaces the old one. Reading an entry moves it to the young generation.
#[derive(Clone)]
pub struct GenerationalCache<K, V> {
    young: HashMap<K, V>,
    young_weight: usize,
    old: HashMap<K, V>,
    count_max: usize,
    weight_max: usize,
}

impl<K: Eq + Hash + Copy, V: Clone> GenerationalCache<K, V> {
    /// Creates an empty cache of at most `count_max` entries and `weight_max` bytes per generation.
    pub fn new(count_max: usize, weight_max: usize) -> Self {
        Self { young: HashMap::new(), young_weight: 0, old: HashMap::new(), count_max, weight_max }
    }

    /// Returns the value of `key`, or `None` if it is not cached. `weight` returns its bytes, and
    /// is called if the entry moves to the young generation.
    pub fn get(&mut self, key: K, weight: impl Fn(&V) -> usize) -> Option<V> {
        if let Some(value) = self.young.get(&key) {
            return Some(value.clone());
        }
        let value = self.old.remove(&key)?;
        self.insert(key, value.clone(), weight(&value));
        Some(value)
    }

    /// Inserts a value.
    pub fn insert(&mut self, key: K, value: V, weight: usize) {
        if self.young.len() >= self.count_max || self.young_weight + weight > self.weight_max {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        if self.young.insert(key, value).is_none() {
            self.young_weight += weight;
        }
    }

    /// Removes the value of `key`. Calls `weight` if the entry is young.
    pub fn remove(&mut self, key: K, weight: impl Fn(&V) -> usize) {
        self.old.remove(&key);
        if let Some(value) = self.young.remove(&key) {
            self.young_weight = self.young_weight.saturating_sub(weight(&value));
        }
    }

    /// Returns the value of `key`, and leaves it in its generation.
    #[cfg(test)]
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Changes the value of `key`, if it is cached.
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
    fn cache_keeps_used_entries_and_drops_the_rest() {
        let mut cache = GenerationalCache::new(2, 100);
        let contains = |cache: &mut GenerationalCache<_, _>, key| cache.get(key, |_| 1).is_some();
        for key in 0..3 {
            cache.insert(key, key, 1);
        }
        assert!(contains(&mut cache, 0), "moved from the old generation");
        cache.insert(3, 3, 1);
        assert!(contains(&mut cache, 0));
        assert!(!contains(&mut cache, 1));
        cache.update(0, |value| *value = 7);
        assert_eq!(cache.get(0, |_| 1), Some(7));
        cache.remove(0, |_| 1);
        assert!(!contains(&mut cache, 0));
        assert!(cache.young.len() + cache.old.len() <= 4);
    }

    #[test]
    fn cache_is_bounded_by_weight() {
        let mut cache = GenerationalCache::new(1000, 100);
        for key in 0..1000 {
            cache.insert(key, (), 40);
            assert!(cache.young_weight <= 100 && cache.young.len() + cache.old.len() <= 4);
        }
        cache.insert(1000, (), 101);
        assert!(cache.get(1000, |_| 101).is_some(), "an entry that is too heavy is alone");
        cache.insert(1000, (), 101);
        assert!(cache.young.len() <= 1);
    }
}
