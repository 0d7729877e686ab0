//! Reads settings of each kind, and collects their errors.

use super::error::{ConfigError, ConfigErrorKind};
use crate::json;
use crate::url::BaseUrl;
use serde_json::Value;
use std::cell::RefCell;

/// A reader of settings by their names.
pub(super) struct SettingsReader<'l> {
    lookup: &'l dyn Fn(&str) -> Option<String>,
    pub(super) errors: Vec<ConfigError>,
    /// The names of the settings that were read, some of them twice.
    pub(super) read: RefCell<Vec<String>>,
    /// The names of the variables that issuers name.
    pub(super) variables: Vec<String>,
}

impl<'l> SettingsReader<'l> {
    pub(super) fn new(lookup: &'l dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, errors: Vec::new(), read: RefCell::default(), variables: Vec::new() }
    }

    /// Adds an error for a setting, or for a place within it.
    pub(super) fn add_error(&mut self, name: impl Into<String>, kind: ConfigErrorKind) {
        self.errors.push(ConfigError { name: name.into(), kind });
    }

    /// Returns whether a setting, or a place within it, has an error.
    pub(super) fn has_error(&self, name: &str) -> bool {
        self.errors.iter().any(|error| error.name.starts_with(name))
    }

    /// Returns a setting, or `None` if it is missing or blank.
    pub(super) fn optional(&self, name: &str) -> Option<String> {
        self.read.borrow_mut().push(name.to_owned());
        self.text(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|text| !text.trim().is_empty())
    }

    /// Returns a variable that a setting names. It must not be missing.
    pub(super) fn variable(&mut self, name: &str) -> Option<String> {
        self.variables.push(name.to_owned());
        let text = self.text(name);
        if text.is_none() {
            self.add_error(name, ConfigErrorKind::Missing);
        }
        text
    }

    /// Returns a setting that must not be missing.
    pub(super) fn required(&mut self, name: &str) -> Option<String> {
        let text = self.optional(name);
        if text.is_none() {
            self.add_error(name, ConfigErrorKind::Missing);
        }
        text
    }

    /// Returns a URL that must not be missing.
    pub(super) fn url(&mut self, name: &str) -> Option<BaseUrl> {
        let text = self.required(name)?;
        let url = BaseUrl::parse(&text);
        if url.is_none() {
            self.add_error(name, ConfigErrorKind::NotAUrl);
        }
        url
    }

    /// Returns whether the store can run scripts and has more types than values.
    pub(super) fn has_scripts(&self) -> bool {
        !self.optional("STORE_URL").is_some_and(|text| text.trim().starts_with("memcached"))
    }

    /// Returns a whole number from `min` to `max`, or `default` if the setting is missing.
    pub(super) fn number(&mut self, name: &str, default: u32, min: u32, max: u32) -> u32 {
        let Some(text) = self.optional(name) else {
            return default;
        };
        match text.trim().parse() {
            Ok(number) if (min..=max).contains(&number) => number,
            _ => {
                self.add_error(name, ConfigErrorKind::NotInRange(min, max));
                default
            }
        }
    }

    /// Returns a boolean, or `false` if the setting is missing.
    pub(super) fn flag(&mut self, name: &str) -> bool {
        match self.optional(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.add_error(name, ConfigErrorKind::NotOneOf("true, false".to_owned()));
                false
            }
        }
    }

    /// Returns the value of one of some names.
    pub(super) fn one_of<T: Copy>(&mut self, name: &str, names: &[(&str, T)]) -> Option<T> {
        let text = self.optional(name)?;
        let value = named_value(&text, names);
        if value.is_none() {
            self.add_error(name, ConfigErrorKind::NotOneOf(joined_names(names)));
        }
        value
    }

    /// Returns a JSON value, or `None` if the setting is missing or malformed.
    pub(super) fn json(&mut self, name: &str) -> Option<Value> {
        let text = self.optional(name)?;
        match json::value(text.as_bytes()) {
            Ok(value) => Some(value),
            Err(error) => {
                self.add_error(name, ConfigErrorKind::Malformed(error.to_string()));
                None
            }
        }
    }

    /// Returns the entries of a JSON list.
    pub(super) fn list(&mut self, name: &str) -> Vec<Entry> {
        let Some(value) = self.json(name) else {
            return Vec::new();
        };
        let Value::Array(values) = value else {
            self.add_error(name, ConfigErrorKind::NotA("a list"));
            return Vec::new();
        };
        if values.is_empty() {
            self.add_error(name, ConfigErrorKind::Empty);
        }
        let entry = |(place, value)| Entry { place: format!("{name}[{place}]"), value };
        values.into_iter().enumerate().map(entry).collect()
    }

    /// Returns the entries of a JSON list that must not be missing.
    pub(super) fn required_list(&mut self, name: &str) -> Vec<Entry> {
        if self.required(name).is_none() {
            return Vec::new();
        }
        self.list(name)
    }
}

/// One entry of a list in a setting.
pub(super) struct Entry {
    /// The place, such as `ROUTES[2]`.
    pub(super) place: String,
    pub(super) value: Value,
}

/// Returns the value of a name.
pub(super) fn named_value<T: Copy>(text: &str, names: &[(&str, T)]) -> Option<T> {
    names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value)
}

/// Returns all names, separated by commas.
pub(super) fn joined_names<T>(names: &[(&str, T)]) -> String {
    let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

/// Returns whether a name can be part of the store's keys and of log lines as it is.
pub(super) fn is_safe_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
