//! Reads the members of tables. Each error names the member's place.

use super::error::ConfigErrorKind;
use super::settings::{Entry, SettingsReader, joined_names, named_value};
use crate::url::BaseUrl;
use serde_json::{Map, Value};

impl<'l> SettingsReader<'l> {
    /// Returns a reader of a section; of an empty one, if it is missing.
    pub(super) fn section(&mut self, name: &str) -> ObjectReader<'_, 'l> {
        let value = self.take(name).unwrap_or_else(|| Value::Object(Map::new()));
        match ObjectReader::members_of(self, name, value) {
            Some(members) => ObjectReader::new(self, name.to_owned(), members),
            None => ObjectReader::void(self, name.to_owned()),
        }
    }

    /// Returns a reader of a section, or `None` if it is missing or not a table.
    pub(super) fn optional_section(&mut self, name: &str) -> Option<ObjectReader<'_, 'l>> {
        let value = self.take(name)?;
        let members = ObjectReader::members_of(self, name, value)?;
        Some(ObjectReader::new(self, name.to_owned(), members))
    }

    /// Returns the numbers of a section that holds nothing else.
    pub(super) fn numbers<const N: usize>(
        &mut self,
        section: &str,
        numbers: &[Number; N],
    ) -> [u32; N] {
        let mut values = [0; N];
        self.read_numbers(section, numbers, &mut values);
        values
    }

    fn read_numbers(&mut self, section: &str, numbers: &[Number], values: &mut [u32]) {
        let mut section = self.section(section);
        for (value, number) in values.iter_mut().zip(numbers) {
            *value = section.number_or_default(number);
        }
        section.finish();
    }

    /// Returns a reader of a list's entry, or `None` if it is not a table. `kind` and the member
    /// `name` say what errors call it.
    pub(super) fn entry(
        &mut self,
        entry: Entry,
        kind: &str,
        name: &str,
    ) -> Option<ObjectReader<'_, 'l>> {
        let Entry { place, value } = entry;
        let is_plain = |name: &&str| name.bytes().all(|b| b.is_ascii_graphic());
        if let Some(name) = value.get(name).and_then(Value::as_str).filter(is_plain) {
            self.labels.push((place.clone(), format!("{kind} {name}")));
        }
        let members = ObjectReader::members_of(self, &place, value)?;
        Some(ObjectReader::new(self, place, members))
    }
}

/// A whole number: its name, its bounds, and its value where it is missing.
pub(super) struct Number {
    pub(super) name: &'static str,
    pub(super) min: u32,
    pub(super) max: u32,
    pub(super) default: u32,
}

/// A reader that takes a table's members one by one. [`ObjectReader::finish`] rejects the rest.
#[must_use = "finish() rejects unknown members"]
pub(super) struct ObjectReader<'r, 'l> {
    pub(super) settings: &'r mut SettingsReader<'l>,
    place: String,
    members: Map<String, Value>,
    /// The names of the members that were asked for.
    known: Vec<String>,
    /// The place holds no table, which is an error already.
    is_void: bool,
}

impl<'r, 'l> ObjectReader<'r, 'l> {
    pub(super) fn new(
        settings: &'r mut SettingsReader<'l>,
        place: String,
        members: Map<String, Value>,
    ) -> Self {
        Self { settings, place, members, known: Vec::new(), is_void: false }
    }

    /// Returns a reader of a place that holds no table.
    pub(super) fn void(settings: &'r mut SettingsReader<'l>, place: String) -> Self {
        Self { is_void: true, ..Self::new(settings, place, Map::new()) }
    }

    /// Returns the members of a value, or adds an error if it is not a table.
    pub(super) fn members_of(
        settings: &mut SettingsReader<'l>,
        place: &str,
        value: Value,
    ) -> Option<Map<String, Value>> {
        match value {
            Value::Object(members) => Some(members),
            _ => {
                settings.add_error(place, ConfigErrorKind::NotA("a table"));
                None
            }
        }
    }
}

impl<'l> ObjectReader<'_, 'l> {
    /// Rejects the members that were not read, as unknown.
    pub(super) fn finish(mut self) {
        for name in self.names() {
            let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
            let kind = match setting_names::nearest(&name, &known) {
                _ if SECRET_NAMES.contains(&name.as_str()) => ConfigErrorKind::SecretInFile,
                suggestion => ConfigErrorKind::Unknown(suggestion.map(str::to_owned)),
            };
            self.add_error(&name, kind);
        }
    }

    /// Returns the place of a member, as errors name it.
    pub(super) fn at(&self, name: &str) -> String {
        format!("{}.{name}", self.place)
    }

    /// Returns the place of the table itself.
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
            if !self.has(name) && !self.is_void {
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
        self.known.push(name.to_owned());
        #[cfg(test)]
        KNOWN.with_borrow_mut(|known| known.push(self.at(name)));
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

    /// Returns a URL.
    pub(super) fn url(&mut self, name: &str) -> Option<BaseUrl> {
        let url = BaseUrl::parse(&self.text(name)?);
        if url.is_none() {
            self.add_error(name, ConfigErrorKind::NotAUrl);
        }
        url
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

    /// Returns a whole number, or its default if it is missing.
    pub(super) fn number_or_default(&mut self, number: &Number) -> u32 {
        self.number(number.name, number.min, number.max).unwrap_or(number.default)
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

    /// Returns a reader of a member that is a table.
    pub(super) fn object(&mut self, name: &str) -> Option<ObjectReader<'_, 'l>> {
        let (place, value) = (self.at(name), self.value(name)?);
        let members = ObjectReader::members_of(self.settings, &place, value)?;
        Some(ObjectReader::new(self.settings, place, members))
    }

    fn wrong_type<T>(&mut self, name: &str, expected: &'static str) -> Option<T> {
        self.add_error(name, ConfigErrorKind::NotA(expected));
        None
    }
}

#[cfg(test)]
thread_local! {
    /// The places that were asked for, which tests compare with the documentation.
    pub(super) static KNOWN: std::cell::RefCell<Vec<String>> = std::cell::RefCell::default();
}

/// Members that people expect for secrets, which the file must not hold.
const SECRET_NAMES: [&str; 5] = ["client_secret", "key", "password", "secret", "token"];
