//! The data of a row: counts by the ids of their names.

use std::collections::{BTreeMap, HashMap};

/// Counts by name. The names are those of `pc:metrics:totals`, such as
/// `requests_total{route="api"}`. Those of this service begin with `auth_`.
pub type Counters = BTreeMap<String, u64>;

/// The name under which a row has the sum of what was too much for it.
pub const OTHER: &str = "other";

/// Adds counts to others. Of a maximum, the larger one stays.
pub fn add_counters(sum: &mut Counters, added: &Counters) {
    for (name, count) in added {
        match sum.get_mut(name) {
            Some(sum) => *sum = joined(*sum, *count, is_maximum(name)),
            None => {
                sum.insert(name.clone(), *count);
            }
        }
    }
}

/// Returns whether a name is that of a maximum, such as an age, and not of a count.
pub(super) fn is_maximum(name: &str) -> bool {
    name.ends_with("_max")
}

pub(super) fn joined(sum: u64, count: u64, is_maximum: bool) -> u64 {
    if is_maximum { sum.max(count) } else { sum.saturating_add(count) }
}

/// The counts of a row by the ids of their names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Packed(BTreeMap<i64, u64>);

impl Packed {
    /// Reads the data of a row. Skips what is malformed.
    pub fn read(text: &str) -> Self {
        Self(pairs(text).collect())
    }

    /// Returns the data of a row.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (id, count) in &self.0 {
            let space = if text.is_empty() { "" } else { " " };
            text += &format!("{space}{id}:{count}");
        }
        text
    }

    /// Returns the ids.
    pub fn ids(&self) -> impl Iterator<Item = i64> {
        self.0.keys().copied()
    }

    /// Adds counts.
    pub fn add(&mut self, added: &Self, names: &Names) {
        for (id, count) in &added.0 {
            let sum = self.0.entry(*id).or_default();
            *sum = joined(*sum, *count, names.is_maximum(*id));
        }
    }

    /// Puts the smallest counts together under [`OTHER`], if there are too many.
    pub fn bound(&mut self, names: &mut Names) {
        let surplus = self.0.len().saturating_sub(FIELDS_MAX);
        if surplus == 0 {
            return;
        }
        let other = names.id(OTHER);
        let mut counts: Vec<(u64, i64)> = self
            .0
            .iter()
            .filter(|(id, _)| **id != other && !names.is_maximum(**id))
            .map(|(id, count)| (*count, *id))
            .collect();
        counts.sort_unstable();
        // One more, so that there is a place for `other`.
        for (count, id) in counts.into_iter().take(surplus + 1) {
            self.0.remove(&id);
            let sum = self.0.entry(other).or_default();
            *sum = sum.saturating_add(count);
        }
    }
}

/// Returns the ids and counts of a row's data. Skips what is malformed.
pub fn pairs(text: &str) -> impl Iterator<Item = (i64, u64)> {
    text.split(' ').filter_map(|pair| {
        let (id, count) = pair.split_once(':')?;
        Some((id.parse().ok()?, count.parse().ok()?))
    })
}

/// The ids of all names.
#[derive(Default)]
pub struct Names {
    ids: HashMap<String, i64>,
    maxima: Vec<i64>,
    used_at: HashMap<i64, i64>,
    last: i64,
    added: Vec<(i64, String)>,
}

impl Names {
    /// Inserts a name that is stored.
    pub fn insert(&mut self, id: i64, name: String, used_at: i64) {
        if is_maximum(&name) {
            self.maxima.push(id);
        }
        self.ids.insert(name, id);
        self.used_at.insert(id, used_at);
        self.last = self.last.max(id);
    }

    /// Returns counts by the ids of their names. Those of new names get new ids.
    pub fn pack(&mut self, counters: &Counters) -> Packed {
        let mut packed = Packed::default();
        for (name, count) in counters {
            let id = self.id(name);
            let sum = packed.0.entry(id).or_default();
            *sum = joined(*sum, *count, self.is_maximum(id));
        }
        packed
    }

    /// Returns when a stored name was last used. A new one is in use.
    pub fn used_at(&self, id: i64) -> i64 {
        self.used_at.get(&id).copied().unwrap_or(i64::MAX)
    }

    /// Returns the new names.
    pub fn take_added(&mut self) -> Vec<(i64, String)> {
        std::mem::take(&mut self.added)
    }

    fn is_maximum(&self, id: i64) -> bool {
        self.maxima.contains(&id)
    }

    /// Returns the id of a name, or that of [`OTHER`] if there are too many.
    fn id(&mut self, name: &str) -> i64 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        if self.ids.len() >= NAMES_MAX && name != OTHER {
            return self.id(OTHER);
        }
        self.last += 1;
        let id = self.last;
        if is_maximum(name) {
            self.maxima.push(id);
        }
        self.ids.insert(name.to_owned(), id);
        self.added.push((id, name.to_owned()));
        id
    }
}

/// The most counts of one row.
const FIELDS_MAX: usize = 2000;
/// The most names. A gate with 20 routes and 10 limits has about a thousand.
const NAMES_MAX: usize = 20_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(pairs: &[(&str, u64)]) -> Counters {
        pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn counts_are_packed_by_the_ids_of_their_names() {
        let mut names = Names::default();
        names.insert(7, "a{}".into(), 1);
        let packed = names.pack(&counters(&[("a{}", 5), ("b_max", 0), ("c{}", u64::MAX)]));
        assert_eq!(packed.text(), "7:5 8:0 9:18446744073709551615");
        assert_eq!(names.take_added(), [(8, "b_max".to_owned()), (9, "c{}".to_owned())]);
        assert_eq!(Packed::read(&packed.text()), packed);
        assert_eq!(Packed::default().text(), "");
        assert_eq!(Packed::read("7:5 x 8: :9 10:-1 11:3").text(), "7:5 11:3");
    }

    #[test]
    fn counts_add_up_and_maxima_do_not() {
        let mut names = Names::default();
        let mut sum = names.pack(&counters(&[("a{}", 5), ("b_max", 9), ("full{}", u64::MAX)]));
        let added = names.pack(&counters(&[("a{}", 1), ("b_max", 3), ("full{}", 1), ("new{}", 2)]));
        sum.add(&added, &names);
        let expect = counters(&[("a{}", 6), ("b_max", 9), ("full{}", u64::MAX), ("new{}", 2)]);
        assert_eq!(sum, names.pack(&expect));
        let mut plain = counters(&[("a{}", 5), ("b_max", 9)]);
        add_counters(&mut plain, &counters(&[("a{}", 1), ("b_max", 12), ("c{}", 1)]));
        assert_eq!(plain, counters(&[("a{}", 6), ("b_max", 12), ("c{}", 1)]));
    }

    #[test]
    fn row_has_a_bounded_number_of_counts_and_keeps_the_largest() {
        let mut names = Names::default();
        let mut many: Counters =
            (0..2500).map(|number| (format!("n{number}{{}}"), number + 1)).collect();
        many.insert("age_max".into(), 0);
        let total: u64 = many.values().sum();
        let mut packed = names.pack(&many);
        packed.bound(&mut names);
        assert_eq!(packed.0.len(), FIELDS_MAX);
        assert_eq!(packed.0.values().sum::<u64>(), total, "nothing is lost");
        let (largest, smallest) = (names.id("n2499{}"), names.id("n0{}"));
        assert_eq!(packed.0.get(&largest), Some(&2500));
        assert_eq!(packed.0.get(&smallest), None);
        assert_eq!(packed.0.get(&names.id("age_max")), Some(&0));
    }

    #[test]
    fn names_are_bounded() {
        let mut names = Names::default();
        let many: Counters = (0..NAMES_MAX + 100).map(|number| (number.to_string(), 1)).collect();
        let packed = names.pack(&many);
        assert_eq!(names.ids.len(), NAMES_MAX + 1);
        assert_eq!(packed.0.get(&names.id(OTHER)), Some(&100));
    }
}
