//! Reads the members of JSON objects in settings. Each error names the member's place.

use super::error::ConfigErrorKind;
use super::settings::{Entry, SettingsReader, joined_names, named_value};
use serde_json::{Map, Value};

impl<'l> SettingsReader<'l> {
    /// Returns a reader of a setting that is a JSON object, or `None` if it is missing or not an object.
    pub(super) fn object(&mut self, name: &str) -> Option<ObjectReader<'_, 'l>> {
        let value = self.json(name)?;
        ObjectReader::new(self, name.to_owned(), value)
    }

    /// Returns a reader of a list's entry, or `None` if it is not an object.
    pub(super) fn entry(&mut self, entry: Entry) -> Option<ObjectReader<'_, 'l>> {
        ObjectReader::new(self, entry.place, entry.value)
    }
}

/// A reader that takes an object's members one by one. [`ObjectReader::finish`] rejects the rest.
#[must_use = "finish() rejects unknown members"]
pub(super) struct ObjectReader<'r, 'l> {
    pub(super) settings: &'r mut SettingsReader<'l>,
    place: String,
    members: Map<String, Value>,
}

impl<'r, 'l> ObjectReader<'r, 'l> {
    fn new(settings: &'r mut SettingsReader<'l>, place: String, value: Value) -> Option<Self> {
        match value {
            Value::Object(members) => Some(Self { settings, place, members }),
            _ => {
                settings.add_error(place, ConfigErrorKind::NotA("an object"));
                None
            }
        }
    }
}

impl<'l> ObjectReader<'_, 'l> {
    /// Rejects the members that were not read, as unknown.
    pub(super) fn finish(mut self) {
        for name in self.names() {
            self.add_error(&name, ConfigErrorKind::Unknown);
        }
    }

    /// Returns the place of a member, as errors name it.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.place)
    }

    /// Returns the place of the object itself.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Adds an error for a member.
    pub(super) fn add_error(&mut self, name: &str, kind: ConfigErrorKind) {
        let place = self.at(name);
        self.settings.add_error(place, kind);
    }

    /// Returns whether there is a member of that name that was not read yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Adds an error for each of these members that is missing.
    pub(super) fn require(&mut self, names: &[&str]) {
        for name in names {
            if !self.has(name) {
                self.add_error(name, ConfigErrorKind::Missing);
            }
        }
    }

    /// Returns the names of the members that were not read yet.
    pub(super) fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// Returns a member of any type.
    pub(super) fn value(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name)
    }

    /// Returns a string.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.value(name)? {
            Value::String(text) => Some(text),
            _ => self.wrong_type(name, "a text"),
        }
    }

    /// Returns a string that must not be empty.
    pub(super) fn nonempty_text(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if text.is_empty() {
            self.add_error(name, ConfigErrorKind::Empty);
        }
        Some(text)
    }

    /// Returns a list of strings.
    pub(super) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let Value::Array(values) = self.value(name)? else {
            return self.wrong_type(name, "a list of texts");
        };
        let mut texts = Vec::new();
        for value in values {
            match value {
                Value::String(text) => texts.push(text),
                _ => return self.wrong_type(name, "a list of texts"),
            }
        }
        Some(texts)
    }

    /// Returns a boolean, or `false` if the member is missing.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or_default()
    }

    /// Returns a boolean.
    pub(super) fn optional_flag(&mut self, name: &str) -> Option<bool> {
        match self.value(name)? {
            Value::Bool(flag) => Some(flag),
            _ => self.wrong_type(name, "true or false"),
        }
    }

    /// Returns a whole number from `min` to `max`.
    pub(super) fn number(&mut self, name: &str, min: u32, max: u32) -> Option<u32> {
        let number = self.value(name)?.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.add_error(name, ConfigErrorKind::NotInRange(min, max));
        }
        number
    }

    /// Returns the value of one of some names.
    pub(super) fn one_of<T: Copy>(&mut self, name: &str, names: &[(&str, T)]) -> Option<T> {
        let text = self.text(name)?;
        let value = named_value(&text, names);
        if value.is_none() {
            self.add_error(name, ConfigErrorKind::NotOneOf(joined_names(names)));
        }
        value
    }

    /// Returns a reader of a member that is an object.
    pub(super) fn object(&mut self, name: &str) -> Option<ObjectReader<'_, 'l>> {
        let (place, value) = (self.at(name), self.value(name)?);
        ObjectReader::new(self.settings, place, value)
    }

    fn wrong_type<T>(&mut self, name: &str, expected: &'static str) -> Option<T> {
        self.add_error(name, ConfigErrorKind::NotA(expected));
        None
    }
}
