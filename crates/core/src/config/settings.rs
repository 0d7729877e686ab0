//! Reads the policy file's sections, and collects their errors.

use super::error::{ConfigError, ConfigErrorKind};
use super::record::{self, MemberShape, TextFormat};
use serde_json::{Map, Value};

/// A reader of sections by their names.
pub(super) struct SettingsReader<'l> {
    lookup: &'l dyn Fn(&str) -> Option<String>,
    /// The sections that were not read yet.
    document: Map<String, Value>,
    /// The names of the sections that were read.
    read: Vec<String>,
    /// The errors found so far, without the names of list entries.
    pub(super) errors: Vec<ConfigError>,
    /// The places of named entries, such as `routes[2]`, and what they are called.
    pub(super) labels: Vec<(String, String)>,
    /// The names of the variables and secrets that the policy uses.
    pub(super) variables: Vec<String>,
    /// The secrets that the policy uses.
    pub(super) secrets: Vec<String>,
    /// Whether variables that are missing are assumed to be right, as before a deployment.
    assumes: bool,
    /// The places and names of values that are assumed.
    assumed: Vec<String>,
    has_scripts: bool,
    has_delay: bool,
}

impl<'l> SettingsReader<'l> {
    /// Returns a reader of a document. In it, each text `${NAME}` is replaced by that variable.
    pub(super) fn new(
        mut document: Map<String, Value>,
        lookup: &'l dyn Fn(&str) -> Option<String>,
        assumes: bool,
    ) -> Self {
        let mut settings = Self {
            lookup,
            document: Map::new(),
            read: Vec::new(),
            errors: Vec::new(),
            labels: Vec::new(),
            variables: Vec::new(),
            secrets: Vec::new(),
            assumes,
            assumed: Vec::new(),
            has_scripts: true,
            has_delay: false,
        };
        for (name, value) in &mut document {
            settings.resolve(name, value);
        }
        let store = document.get("store").and_then(|store| store.get("url"));
        let is_memcached = |url: &str| url.trim().starts_with("memcached");
        settings.has_scripts = !store.and_then(Value::as_str).is_some_and(is_memcached);
        let delay = document.get("revocation").and_then(|own| own.get("delay_seconds_max"));
        settings.has_delay = delay.and_then(Value::as_u64).is_some_and(|seconds| seconds > 0);
        settings.document = document;
        settings
    }

    /// Replaces the variables in a value.
    fn resolve(&mut self, place: &str, value: &mut Value) {
        match value {
            Value::String(text) if text.contains("${") => {
                let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
                let Some(name) = name.filter(|name| is_variable_name(name)) else {
                    self.add_error(place, ConfigErrorKind::NotAVariable);
                    return;
                };
                self.variables.push(name.to_owned());
                match self.text(name) {
                    Some(found) => *text = found,
                    None if self.assumes => {
                        self.assumed.push(place.to_owned());
                        *text = assumed_url(name);
                    }
                    None => {
                        let kind = ConfigErrorKind::NoSuchVariable(name.to_owned());
                        self.add_error(place, kind);
                    }
                }
            }
            Value::Array(values) => {
                for (at, value) in values.iter_mut().enumerate() {
                    self.resolve(&format!("{place}[{at}]"), value);
                }
            }
            Value::Object(members) => {
                for (name, value) in members {
                    self.resolve(&format!("{place}.{name}"), value);
                }
            }
            _ => {}
        }
    }

    /// Adds an error for a place, unless the place has the fault that its variable is missing.
    pub(super) fn add_error(&mut self, name: impl Into<String>, kind: ConfigErrorKind) {
        let name = name.into();
        let is_variable = |error: &ConfigError| {
            error.name == name
                && matches!(
                    error.kind,
                    ConfigErrorKind::NoSuchVariable(_) | ConfigErrorKind::NotAVariable
                )
        };
        if !self.errors.iter().any(is_variable) {
            self.errors.push(ConfigError { name, entry: None, kind });
        }
    }

    /// Returns whether a place, or one within it, has an error.
    pub(super) fn has_error(&self, name: &str) -> bool {
        self.errors.iter().any(|error| error.name.starts_with(name))
    }

    /// Returns whether a place, or one within it, has an error that is not of an assumed value.
    pub(super) fn has_known_error(&self, name: &str) -> bool {
        let is_known = |error: &ConfigError| !is_of_assumed(error, &self.assumed);
        self.errors.iter().any(|error| error.name.starts_with(name) && is_known(error))
    }

    /// Returns the errors, without those of assumed values.
    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        let Self { errors, labels, assumed, .. } = self;
        let named = |mut error: ConfigError| {
            let entry = labels.iter().find(|(place, _)| error.name.starts_with(place.as_str()));
            error.entry = entry.map(|(_, label)| label.clone());
            error
        };
        errors.into_iter().filter(|error| !is_of_assumed(error, &assumed)).map(named).collect()
    }

    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|text| !text.trim().is_empty())
    }

    /// Returns a secret, or `None` if it is missing or blank.
    pub(super) fn optional_secret(&mut self, name: &str) -> Option<String> {
        self.variables.push(name.to_owned());
        let text = self.text(name);
        self.secrets.extend(text.as_ref().map(|text| text.trim().to_owned()));
        text
    }

    /// Returns a secret. A missing or blank one is an error, unless missing ones are assumed; then
    /// a placeholder is returned.
    pub(super) fn secret(&mut self, name: &str) -> Option<String> {
        let text = self.optional_secret(name);
        if text.is_none() && self.assumes {
            self.assumed.push(name.to_owned());
            return Some(format!("assumed-{name}"));
        }
        if text.is_none() {
            self.add_error(name, ConfigErrorKind::Missing);
        }
        text
    }

    /// Returns whether the value of this name or place is assumed.
    pub(super) fn is_assumed(&self, name: &str) -> bool {
        self.assumed.iter().any(|assumed| assumed == name)
    }

    /// Returns whether the store can run scripts and has more types than values.
    pub(super) fn has_scripts(&self) -> bool {
        self.has_scripts
    }

    /// Returns whether a verdict on a token may be cached. Then a request need not ask the store.
    pub(super) fn has_delay(&self) -> bool {
        self.has_delay
    }

    /// Takes a section, and records its shape. Returns `None` if it is missing or was taken before.
    pub(super) fn take(&mut self, name: &str, shape: MemberShape) -> Option<Value> {
        record::shape(FILE, name, || shape);
        self.read.push(name.to_owned());
        self.document.remove(name)
    }

    /// Returns all sections, if one of these two is among them.
    pub(super) fn sections_if(&self, one: &str, other: &str) -> Option<Map<String, Value>> {
        (self.has(one) || self.has(other)).then(|| self.document.clone())
    }

    /// Returns whether the policy has a section that was not read yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.document.contains_key(name)
    }

    /// Returns a list of texts that is not a member of a table; an empty one if it is missing or
    /// has another type. The latter is an error.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let shape = MemberShape::List(Box::new(MemberShape::Text(TextFormat::Nonempty)));
        let Some(value) = self.take(name, shape) else {
            return Vec::new();
        };
        let texts = |values: Vec<Value>| {
            let text = |value: Value| value.as_str().map(str::to_owned);
            values.into_iter().map(text).collect::<Option<Vec<_>>>()
        };
        match value {
            Value::Array(values) => texts(values),
            _ => None,
        }
        .unwrap_or_else(|| {
            self.add_error(name, ConfigErrorKind::NotA("a list of texts"));
            Vec::new()
        })
    }

    /// Returns the entries of a list of tables. A missing list has no entries. One that is empty or
    /// not a list is an error.
    pub(super) fn list(&mut self, name: &str) -> Vec<Entry> {
        let Some(value) = self.take(name, MemberShape::Tables) else {
            return Vec::new();
        };
        let Value::Array(values) = value else {
            self.add_error(name, ConfigErrorKind::NotA("a list of tables"));
            return Vec::new();
        };
        if values.is_empty() {
            self.add_error(name, ConfigErrorKind::Empty);
        }
        let entry = |(place, value)| Entry { place: format!("{name}[{place}]"), value };
        values.into_iter().enumerate().map(entry).collect()
    }

    /// Returns the entries of a list of tables that must not be missing.
    pub(super) fn required_list(&mut self, name: &str) -> Vec<Entry> {
        record::required(FILE, name);
        if !self.has(name) {
            self.add_error(name, ConfigErrorKind::Missing);
        }
        self.list(name)
    }

    /// Rejects the sections that were not read, as unknown.
    pub(super) fn finish(&mut self) {
        let known: Vec<&str> = self.read.iter().map(String::as_str).collect();
        let unknown: Vec<_> = self.document.keys().map(|name| unknown(name, &known)).collect();
        self.errors.extend(unknown);
    }
}

fn unknown(name: &str, known: &[&str]) -> ConfigError {
    let suggestion = setting_names::nearest(name, known).map(str::to_owned);
    ConfigError { name: name.to_owned(), entry: None, kind: ConfigErrorKind::Unknown(suggestion) }
}

/// Returns whether an error is at one of these places, or within it.
fn is_of_assumed(error: &ConfigError, assumed: &[String]) -> bool {
    assumed.iter().any(|place| {
        let rest = error.name.strip_prefix(place.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', ':']))
    })
}

/// One entry of a list.
pub(super) struct Entry {
    /// The place, such as `routes[2]`.
    pub(super) place: String,
    /// The entry itself, of any type.
    pub(super) value: Value,
}

/// Returns the value of a name, or `None` if `names` lacks it.
pub(super) fn named_value<T: Copy>(text: &str, names: &[(&str, T)]) -> Option<T> {
    names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
}

/// Returns all names, separated by commas.
pub(super) fn joined_names<T>(names: &[(&str, T)]) -> String {
    let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// Returns whether a name can be part of the store's keys and of log lines as it is: 1 to 64
/// letters, digits, `-` and `_`.
pub(super) fn is_safe_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Returns what stands for a variable that is not known yet. Most are URLs, and two variables
/// differ.
pub(super) fn assumed_url(name: &str) -> String {
    format!("https://variable-{}.invalid", name.to_ascii_lowercase().replace('_', "-"))
}

/// The place of the file's own table.
const FILE: &str = "";
