//! A bounded cache that works without a clock.

use std::collections::HashMap;
use std::marker::PhantomData;

/// What a cache compares keys by: a SHA-256, or one that was combined with a few more bytes.
pub type CacheKey = [u8; 32];

/// A cache of two generations. When the young generation is full, by number or by weight, it
/// replaces the old one. Reading an entry moves it to the young generation.
#[derive(Clone)]
pub struct GenerationalCache<K, V> {
    young: Table<V>,
    young_weight: usize,
    old: Table<V>,
    count_max: usize,
    weight_max: usize,
    keys: PhantomData<K>,
}

/// Values by their keys. All tables share the code of one hash map, which finds the places.
#[derive(Clone)]
pub(crate) struct Table<V> {
    places: HashMap<CacheKey, usize>,
    entries: Vec<(CacheKey, V)>,
}

impl<K: Copy + Into<CacheKey>, V: Clone> GenerationalCache<K, V> {
    /// Creates an empty cache of at most `count_max` entries and `weight_max` bytes per generation.
    pub fn new(count_max: usize, weight_max: usize) -> Self {
        let (young, old) = (Table::default(), Table::default());
        Self { young, young_weight: 0, old, count_max, weight_max, keys: PhantomData }
    }

    /// Returns the value of `key`, or `None` if it is not cached. `weight` returns its bytes, and
    /// is called if the entry moves to the young generation.
    pub fn get(&mut self, key: K, weight: impl Fn(&V) -> usize) -> Option<V> {
        if let Some(value) = self.young.get_mut(&key.into()) {
            return Some(value.clone());
        }
        let value = self.old.remove(&key.into())?;
        self.insert(key, value.clone(), weight(&value));
        Some(value)
    }

    /// Inserts a value.
    pub fn insert(&mut self, key: K, value: V, weight: usize) {
        if self.young.entries.len() >= self.count_max
            || self.young_weight + weight > self.weight_max
        {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        if self.young.insert(key.into(), value) {
            self.young_weight += weight;
        }
    }

    /// Removes the value of `key`. Calls `weight` if the entry is young.
    pub fn remove(&mut self, key: K, weight: impl Fn(&V) -> usize) {
        self.old.remove(&key.into());
        if let Some(value) = self.young.remove(&key.into()) {
            self.young_weight = self.young_weight.saturating_sub(weight(&value));
        }
    }

    /// Returns the value of `key`, and leaves it in its generation.
    #[cfg(test)]
    pub fn peek(&self, key: &K) -> Option<&V> {
        let key = (*key).into();
        let find = |table: &'_ Table<V>| table.places.get(&key).copied();
        match find(&self.young) {
            Some(place) => self.young.entries.get(place).map(|(_, value)| value),
            None => self.old.entries.get(find(&self.old)?).map(|(_, value)| value),
        }
    }

    /// Changes the value of `key`, if it is cached.
    pub fn update(&mut self, key: K, change: impl FnOnce(&mut V)) {
        let key = key.into();
        if let Some(value) = self.young.get_mut(&key).or_else(|| self.old.get_mut(&key)) {
            change(value);
        }
    }
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { places: HashMap::new(), entries: Vec::new() }
    }
}

impl<V> Table<V> {
    /// Returns how many values there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the values, in no order.
    pub(crate) fn into_values(self) -> Vec<V> {
        self.entries.into_iter().map(|(_, value)| value).collect()
    }

    pub(crate) fn get_mut(&mut self, key: &CacheKey) -> Option<&mut V> {
        let place = *self.places.get(key)?;
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// Inserts a value. Returns whether the key is new.
    pub(crate) fn insert(&mut self, key: CacheKey, value: V) -> bool {
        if let Some(old) = self.get_mut(&key) {
            *old = value;
            return false;
        }
        self.places.insert(key, self.entries.len());
        self.entries.push((key, value));
        true
    }

    /// Removes a value. The last entry takes its place.
    fn remove(&mut self, key: &CacheKey) -> Option<V> {
        let place = self.places.remove(key)?;
        if let Some((last, _)) = self.entries.last()
            && last != key
        {
            self.places.insert(*last, place);
        }
        (place < self.entries.len()).then(|| self.entries.swap_remove(place).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn key(number: usize) -> CacheKey {
        let mut key = CacheKey::default();
        key[..8].copy_from_slice(&(number as u64).to_le_bytes());
        key
    }

    fn count<V>(cache: &GenerationalCache<CacheKey, V>) -> usize {
        cache.young.entries.len() + cache.old.entries.len()
    }

    #[test]
    fn cache_keeps_used_entries_and_drops_the_rest() {
        let mut cache = GenerationalCache::new(2, 100);
        let contains =
            |cache: &mut GenerationalCache<_, _>, number| cache.get(key(number), |_| 1).is_some();
        for number in 0..3 {
            cache.insert(key(number), number, 1);
        }
        assert!(contains(&mut cache, 0), "moved from the old generation");
        cache.insert(key(3), 3, 1);
        assert!(contains(&mut cache, 0));
        assert!(!contains(&mut cache, 1));
        cache.update(key(0), |value| *value = 7);
        assert_eq!(cache.get(key(0), |_| 1), Some(7));
        cache.remove(key(0), |_| 1);
        assert!(!contains(&mut cache, 0));
        assert!(count(&cache) <= 4);
    }

    #[test]
    fn cache_is_bounded_by_weight() {
        let mut cache = GenerationalCache::new(1000, 100);
        for number in 0..1000 {
            cache.insert(key(number), (), 40);
            assert!(cache.young_weight <= 100 && count(&cache) <= 4);
        }
        cache.insert(key(1000), (), 101);
        assert!(cache.get(key(1000), |_| 101).is_some(), "an entry that is too heavy is alone");
        cache.insert(key(1000), (), 101);
        assert!(cache.young.entries.len() <= 1);
    }

    /// Compares the cache with a map, through inserts, removals and changes in a random order.
    #[test]
    fn cache_returns_each_keys_own_value() {
        let mut cache = GenerationalCache::new(1000, usize::MAX);
        let mut expected = HashMap::new();
        let mut seed: u64 = 7;
        for step in 0..4000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let number = (seed >> 33) as usize % 50;
            match (seed >> 40) % 3 {
                0 => {
                    cache.insert(key(number), step, 0);
                    expected.insert(number, step);
                }
                1 => {
                    cache.remove(key(number), |_| 0);
                    expected.remove(&number);
                }
                _ => {
                    cache.update(key(number), |value| *value += 1);
                    expected.entry(number).and_modify(|value| *value += 1);
                }
            }
            assert_eq!(cache.get(key(number), |_| 0), expected.get(&number).copied());
            assert_eq!(count(&cache), expected.len());
        }
    }
}
