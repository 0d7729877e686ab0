//! The members of a JSON object in a setting: each has a kind, and what is wrong with one is told at its own place.

use super::error::ConfigErrorKind;
use super::reader::SettingsReader;
use serde_json::{Map, Value};

/// Members that are taken one by one. Whatever is left at the end is a fault.
pub(crate) struct ObjectReader<'r, 'l> {
    pub(crate) read: &'r mut SettingsReader<'l>,
    place: String,
    left: Map<String, Value>,
}

impl<'r, 'l> ObjectReader<'r, 'l> {
    /// Those of the object that `value` is.
    pub(super) fn of(
        read: &'r mut SettingsReader<'l>,
        place: String,
        value: Value,
    ) -> Option<Self> {
        match value {
            Value::Object(left) => Some(Self { read, place, left }),
            _ => {
                read.report(place, ConfigErrorKind::NotA("an object"));
                None
            }
        }
    }
}

impl<'l> ObjectReader<'_, 'l> {
    /// The place of a member, as faults call it.
    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.place)
    }

    /// The object's own place.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// Something is wrong with a member.
    pub(crate) fn report(&mut self, name: &str, kind: ConfigErrorKind) {
        let place = self.at(name);
        self.read.report(place, kind);
    }

    /// Whether there is one, and it was not taken yet.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// Those that must be there.
    pub(crate) fn need(&mut self, names: &[&str]) {
        for name in names {
            if !self.has(name) {
                self.report(name, ConfigErrorKind::Missing);
            }
        }
    }

    /// The names of those that are left.
    pub(crate) fn names(&self) -> Vec<String> {
        self.left.keys().cloned().collect()
    }

    /// Of any kind.
    pub(crate) fn value(&mut self, name: &str) -> Option<Value> {
        self.left.remove(name)
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::String(text) => Some(text),
            _ => self.is_not(name, "a text"),
        }
    }

    /// A text that is not empty.
    pub(crate) fn full_text(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if text.is_empty() {
            self.report(name, ConfigErrorKind::Empty);
        }
        Some(text)
    }

    pub(crate) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let Value::Array(values) = self.value(name)? else {
            return self.is_not(name, "a list of texts");
        };
        let mut texts = Vec::new();
        for value in values {
            match value {
                Value::String(text) => texts.push(text),
                _ => return self.is_not(name, "a list of texts"),
            }
        }
        Some(texts)
    }

    /// Returns `false` if the member is missing.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or_default()
    }

    pub(crate) fn optional_flag(&mut self, name: &str) -> Option<bool> {
        match self.value(name)? {
            Value::Bool(flag) => Some(flag),
            _ => self.is_not(name, "true or false"),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn number(&mut self, name: &str, least: u32, most: u32) -> Option<u32> {
        let number = self.value(name)?.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.report(name, ConfigErrorKind::NotInRange(least, most));
        }
        number
    }

    /// One of some words, for what it stands for.
    pub(crate) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.report(name, ConfigErrorKind::NotOneOf(words.join(", ")));
        }
        found
    }

    /// An object within.
    pub(crate) fn members(&mut self, name: &str) -> Option<ObjectReader<'_, 'l>> {
        let (place, value) = (self.at(name), self.value(name)?);
        ObjectReader::of(self.read, place, value)
    }

    fn is_not<T>(&mut self, name: &str, kind: &'static str) -> Option<T> {
        self.report(name, ConfigErrorKind::NotA(kind));
        None
    }
}

impl Drop for ObjectReader<'_, '_> {
    fn drop(&mut self) {
        for name in self.names() {
            self.report(&name, ConfigErrorKind::Unknown);
        }
    }
}
