//! Reads the members of tables. Each error names the member's place.

use super::error::ConfigErrorKind;
use super::record::{self, MemberShape, TextFormat};
use super::settings::{Entry, SettingsReader, joined_names, named_value};
use crate::json::path::is_place;
use crate::json::write;
use crate::url::BaseUrl;
use serde_json::{Map, Value};

impl<'l> SettingsReader<'l> {
    /// Returns a reader of a section; of an empty one, if it is missing. A section that is not a
    /// table is an error; its members are then not reported as missing.
    pub(super) fn section(&mut self, name: &str) -> ObjectReader<'_, 'l> {
        let value =
            self.take(name, MemberShape::Table).unwrap_or_else(|| Value::Object(Map::new()));
        match ObjectReader::members_of(self, name, value) {
            Some(members) => ObjectReader::new(self, name.to_owned(), members),
            None => ObjectReader::void(self, name.to_owned()),
        }
    }

    /// Returns a reader of a section, or `None` if it is missing or not a table. The latter is an
    /// error.
    pub(super) fn optional_section(&mut self, name: &str) -> Option<ObjectReader<'_, 'l>> {
        let value = self.take(name, MemberShape::Table)?;
        let members = ObjectReader::members_of(self, name, value)?;
        Some(ObjectReader::new(self, name.to_owned(), members))
    }

    /// Returns the numbers of a section that holds nothing else. One that is missing or out of
    /// bounds is its default; the latter is an error.
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
    /// The member's name. It says the unit.
    pub(super) name: &'static str,
    /// The least value.
    pub(super) min: u32,
    /// The greatest value.
    pub(super) max: u32,
    /// The value where the member is missing.
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

    /// Adds an error for a member, unless the place holds no table, which is an error already.
    pub(super) fn add_error_if_table(&mut self, name: &str, kind: ConfigErrorKind) {
        if !self.is_void {
            self.add_error(name, kind);
        }
    }

    /// Returns whether there is a member of that name that was not read yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// Adds an error for each of these members that is missing.
    pub(super) fn require(&mut self, names: &[&str]) {
        for name in names {
            record::required(&self.place, name);
            if !self.has(name) && !self.is_void {
                self.add_error(name, ConfigErrorKind::Missing);
            }
        }
    }

    /// Returns some members that were not read yet as one text, as far as the table has them.
    pub(super) fn as_text(&self, names: &[&str]) -> String {
        let member =
            |name: &&str| Some([*name, "=", &write::text(self.members.get(*name)?), "\n"].concat());
        names.iter().filter_map(member).collect()
    }

    /// Returns the names of the members that were not read yet.
    pub(super) fn names(&self) -> Vec<String> {
        self.members.keys().cloned().collect()
    }

    /// Records what a member may hold, where the method that reads it is less exact.
    pub(super) fn record(&self, name: &str, shape: impl FnOnce() -> MemberShape) {
        record::shape(&self.place, name, shape);
    }

    /// Records the format of a text.
    pub(super) fn record_format(&self, name: &str, format: TextFormat) {
        self.record(name, || MemberShape::Text(format));
    }

    /// Records what a member means if it is missing.
    pub(super) fn record_default(&self, name: &str, default: impl FnOnce() -> Value) {
        record::default(&self.place, name, default);
    }

    /// Records which of some names a member means if it is missing.
    pub(super) fn record_default_name<T: PartialEq>(
        &self,
        name: &str,
        names: &[(&str, T)],
        default: &T,
    ) {
        let own = || names.iter().find(|(_, value)| value == default);
        self.record_default(name, || own().map(|(name, _)| *name).into());
    }

    /// Returns a member of any type, and records its shape. Returns `None` if it is missing.
    pub(super) fn value(
        &mut self,
        name: &str,
        shape: impl FnOnce() -> MemberShape,
    ) -> Option<Value> {
        self.record(name, shape);
        self.unrecorded(name)
    }

    /// Returns a member that the table must not have.
    pub(super) fn unrecorded(&mut self, name: &str) -> Option<Value> {
        self.known.push(name.to_owned());
        self.members.remove(name)
    }

    /// Returns a string. Returns `None` if it is missing or has another type; the latter is an
    /// error.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.value(name, || MemberShape::Text(TextFormat::Any))? {
            Value::String(text) => Some(text),
            _ => self.wrong_type(name, "a text"),
        }
    }

    /// Returns a string, or its default if it is missing.
    pub(super) fn text_or(&mut self, name: &str, default: &str) -> String {
        self.record_default(name, || default.into());
        self.text(name).unwrap_or_else(|| default.to_owned())
    }

    /// Returns a string. An empty one is returned as it is, but is an error.
    pub(super) fn nonempty_text(&mut self, name: &str) -> Option<String> {
        self.record_format(name, TextFormat::Nonempty);
        let text = self.text(name)?;
        if text.is_empty() {
            self.add_error(name, ConfigErrorKind::Empty);
        }
        Some(text)
    }

    /// Returns an absolute `http` or `https` URL (RFC 3986) without query, fragment and user.
    /// Returns `None` if it is missing or malformed; the latter is an error.
    pub(super) fn url(&mut self, name: &str) -> Option<BaseUrl> {
        self.record_format(name, TextFormat::BaseUrl);
        let url = BaseUrl::parse(&self.text(name)?);
        if url.is_none() {
            self.add_error(name, ConfigErrorKind::NotAUrl);
        }
        url
    }

    /// Returns such a URL, or one that is reached by a binding, `binding:NAME`. Returns `None` if
    /// it is missing or malformed; the latter is an error.
    pub(super) fn url_or_binding(&mut self, name: &str) -> Option<BaseUrl> {
        self.record_format(name, TextFormat::BaseUrlOrBinding);
        let url = BaseUrl::parse_or_binding(&self.text(name)?);
        if url.is_none() {
            self.add_error(name, ConfigErrorKind::NotAUrlOrBinding);
        }
        url
    }

    /// Returns a list of strings, which may be empty. Returns `None` if it is missing or has
    /// another type; the latter is an error.
    pub(super) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let text = || Box::new(MemberShape::Text(TextFormat::Any));
        let Value::Array(values) = self.value(name, || MemberShape::List(text()))? else {
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

    /// Returns a list of strings, or its default if it is missing.
    pub(super) fn texts_or(&mut self, name: &str, default: Vec<String>) -> Vec<String> {
        self.record_default(name, || default.clone().into());
        self.texts(name).unwrap_or(default)
    }

    /// Returns the place of a claim. A malformed one is returned as it is, but is an error.
    pub(super) fn place_of_claim(&mut self, name: &str) -> Option<String> {
        self.record_format(name, TextFormat::Place);
        let place = self.text(name)?;
        self.check_place(name, &place);
        Some(place)
    }

    /// Returns a list of places of claims, or its default if it is missing. Malformed places are
    /// returned as they are, but are errors, as is an empty list.
    pub(super) fn places_or(&mut self, name: &str, default: &str) -> Vec<String> {
        let place = || Box::new(MemberShape::Text(TextFormat::Place));
        self.record(name, || MemberShape::List(place()));
        let places = self.texts_or(name, vec![default.to_owned()]);
        if places.is_empty() {
            self.add_error(name, ConfigErrorKind::Empty);
        }
        for (at, place) in places.iter().enumerate() {
            self.check_place(&format!("{name}[{at}]"), place);
        }
        places
    }

    /// Adds an error for a member if a text is not the place of a claim.
    pub(super) fn check_place(&mut self, name: &str, text: &str) {
        if !is_place(text) {
            self.add_error(name, ConfigErrorKind::NotAPlace);
        }
    }

    /// Returns a boolean, or `false` if the member is missing.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or_default()
    }

    /// Returns a boolean. A missing one means `false`, unless another default is recorded.
    pub(super) fn optional_flag(&mut self, name: &str) -> Option<bool> {
        self.record_default(name, || false.into());
        match self.value(name, || MemberShape::Flag)? {
            Value::Bool(flag) => Some(flag),
            _ => self.wrong_type(name, "true or false"),
        }
    }

    /// Returns a whole number from `min` to `max`. Returns `None` if it is missing, has another
    /// type or is out of bounds; the last two are errors.
    pub(super) fn number(&mut self, name: &str, min: u32, max: u32) -> Option<u32> {
        let number = self.value(name, || MemberShape::Number { min, max })?;
        let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.add_error(name, ConfigErrorKind::NotInRange(min, max));
        }
        number
    }

    /// Returns a whole number, or its default if it is missing or wrong.
    pub(super) fn number_or_default(&mut self, number: &Number) -> u32 {
        self.record_default(number.name, || number.default.into());
        self.number(number.name, number.min, number.max).unwrap_or(number.default)
    }

    /// Returns the value of one of some names. Returns `None` if it is missing or not one of them;
    /// the latter is an error.
    pub(super) fn one_of<T: Copy>(&mut self, name: &str, names: &[(&str, T)]) -> Option<T> {
        let all = || names.iter().map(|(name, _)| (*name).to_owned()).collect();
        self.record(name, || MemberShape::OneOf(all()));
        let text = self.text(name)?;
        let value = named_value(&text, names);
        if value.is_none() {
            self.add_error(name, ConfigErrorKind::NotOneOf(joined_names(names)));
        }
        value
    }

    /// Returns the value of one of some names, or its default if it is missing.
    pub(super) fn one_of_or<T: Copy + PartialEq>(
        &mut self,
        name: &str,
        names: &[(&str, T)],
        default: T,
    ) -> T {
        self.record_default_name(name, names, &default);
        self.one_of(name, names).unwrap_or(default)
    }

    /// Returns a reader of a member that is a table. Returns `None` if it is missing or not a
    /// table; the latter is an error.
    pub(super) fn object(&mut self, name: &str) -> Option<ObjectReader<'_, 'l>> {
        let (place, value) = (self.at(name), self.value(name, || MemberShape::Table)?);
        let members = ObjectReader::members_of(self.settings, &place, value)?;
        Some(ObjectReader::new(self.settings, place, members))
    }

    fn wrong_type<T>(&mut self, name: &str, expected: &'static str) -> Option<T> {
        self.add_error(name, ConfigErrorKind::NotA(expected));
        None
    }
}

/// Members that people expect for secrets, which the file must not hold.
const SECRET_NAMES: [&str; 5] = ["client_secret", "key", "password", "secret", "token"];
