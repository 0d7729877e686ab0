//! The reader of settings.

use super::error::{Place, SettingError};
use super::file::{self, SettingsFile};
use super::setting::{Kind, Setting, SettingsTable, Unset};
use portcullis_core::ConfigErrorKind;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::Value;

/// Where a program's settings come from.
pub struct Sources<'s> {
    /// The values of flags, by the settings' variables.
    pub flags: BTreeMap<&'static str, String>,
    /// Returns an environment variable.
    pub environment: &'s dyn Fn(&str) -> Option<String>,
    /// The names of all environment variables, of which some may be misspelt.
    pub names: Vec<String>,
    /// The file of settings, if there is one.
    pub file: Option<&'s Path>,
}

/// Reads settings, and collects all errors in them.
///
/// A flag overrides an environment variable, and that the file. An empty flag or variable counts as
/// unset.
pub struct SettingsReader<'s> {
    flags: BTreeMap<&'static str, String>,
    environment: &'s dyn Fn(&str) -> Option<String>,
    /// The names of all environment variables.
    names: Vec<String>,
    pub(super) file: Option<SettingsFile>,
    /// Whether there is a file that can't be read. It may have what else is missing.
    is_file_invalid: bool,
    errors: Vec<SettingError>,
}

/// A value as it was given.
pub(super) enum Given {
    /// By a flag or a variable.
    Text(String),
    /// By the file.
    Member(Value),
}

impl<'s> SettingsReader<'s> {
    /// Creates a reader. Each name in the file or the environment that seems to mean a setting, and
    /// is none, is an error.
    pub fn new(table: &SettingsTable, sources: Sources<'s>) -> Self {
        let Sources { flags, environment, names, file } = sources;
        let (mut errors, has_file) = (Vec::new(), file.is_some());
        let file = file.and_then(|path| match SettingsFile::read(path) {
            Ok(file) => Some(file),
            Err(found) => {
                errors.extend(found);
                None
            }
        });
        if let Some(file) = &file {
            errors.extend(table.unknown_members(file));
        }
        errors.extend(table.misspelt_variables(&names, file.as_ref()));
        let is_file_invalid = has_file && file.is_none();
        Self { flags, environment, names, file, is_file_invalid, errors }
    }

    /// Returns all errors: those of the file in its order, and then the others.
    pub fn into_errors(mut self) -> Vec<SettingError> {
        self.errors.sort_by(|one, other| match (one.is_in_file(), other.is_in_file()) {
            (true, true) => one.cmp(other),
            (one, other) => other.cmp(&one),
        });
        self.errors
    }

    /// Returns whether no error was found so far.
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    /// Returns whether there is a file that can't be read. What else is missing may be in it.
    pub fn is_file_invalid(&self) -> bool {
        self.is_file_invalid
    }

    /// Adds an error, unless it is known.
    pub fn add(&mut self, error: SettingError) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Adds an error of a setting.
    pub fn add_error(&mut self, setting: &Setting, problem: impl std::fmt::Display) {
        let error = self.place(setting).error(problem);
        self.add(error);
    }

    /// Returns whether a setting has a value, valid or not.
    pub fn is_set(&self, setting: &Setting) -> bool {
        let file_variable = setting.file_variable();
        let by_variable = |name: &str| self.variable(name).is_some();
        self.flag(setting).is_some()
            || by_variable(setting.variable)
            || file_variable.is_some_and(|name| by_variable(&name))
            || self.member(setting).is_some()
    }

    /// Returns where a setting is given, or where it would be.
    pub fn place(&self, setting: &Setting) -> Place {
        if let (true, Some(flag)) = (self.flag(setting).is_some(), setting.flag) {
            return Place::named(format!("--{flag}"));
        }
        let is_secret = matches!(setting.kind, Kind::Secret { .. });
        let mut variables = [Some(setting.variable.to_owned()), setting.file_variable()];
        let set = variables.iter_mut().flatten().find(|name| self.variable(name).is_some());
        match (set, &self.file) {
            (Some(name), _) => Place::named(name.as_str()),
            (None, Some(file)) if !is_secret || self.member(setting).is_some() => {
                file.place(&setting.place())
            }
            _ => Place::named(setting.variable),
        }
    }

    /// Returns a text, or its default if it is not set.
    pub fn text(&mut self, setting: &Setting) -> Option<String> {
        let Some(given) = self.given(setting) else { return default_of(setting) };
        let is_file = matches!(given, Given::Member(_));
        let raw = given.as_str().map(str::to_owned);
        let text = self.expect_text(setting, given)?;
        match setting.kind {
            Kind::OneOf(names) if !names.contains(&text.as_str()) => {
                self.add_error(setting, ConfigErrorKind::NotOneOf(names.join(", ")));
                return None;
            }
            Kind::Text(format) if !(format.accepts)(&text) => {
                self.add_error(setting, format.expected);
                return None;
            }
            _ => {}
        }
        // A password that a variable holds is not in the file.
        let is_literal = is_file && raw.is_some_and(|raw| raw == text);
        let is_exposed = self.file.as_ref().is_some_and(|file| !file.is_private);
        if is_literal && is_exposed && setting.is_sensitive && has_password(&text) {
            let variable = setting.variable;
            let problem = format!(
                "has a password, and others may read this file; chmod 600, or give {variable}"
            );
            self.add_error(setting, problem);
        }
        Some(text)
    }

    /// Returns the address of a socket, or its default if it is not set.
    pub fn address(&mut self, setting: &Setting) -> Option<SocketAddr> {
        let address = self.text(setting)?.parse().ok();
        if address.is_none() {
            let example = default_of(setting).unwrap_or_else(|| "127.0.0.1:8790".to_owned());
            self.add_error(setting, format!("must be address:port, such as {example}"));
        }
        address
    }

    /// Returns a list of texts, or `None` if it is not set or invalid.
    pub fn list(&mut self, setting: &Setting) -> Option<Vec<String>> {
        let values = match self.given(setting)? {
            Given::Text(text) => text.split(',').map(|part| Value::from(part.trim())).collect(),
            Given::Member(Value::Array(values)) => values,
            Given::Member(_) => {
                self.add_error(setting, ConfigErrorKind::NotA("a list of texts"));
                return None;
            }
        };
        if values.is_empty() {
            self.add_error(setting, ConfigErrorKind::Empty);
        }
        let mut texts = Vec::new();
        for value in values {
            let Value::String(text) = value else {
                self.add_error(setting, ConfigErrorKind::NotA("a list of texts"));
                return None;
            };
            texts.push(self.resolve(setting, text)?);
        }
        match setting.kind {
            Kind::List(format) if !texts.iter().all(|text| (format.accepts)(text)) => {
                self.add_error(setting, format.expected);
                None
            }
            _ => Some(texts),
        }
    }

    /// Returns a number, or its default if it is not set.
    pub fn number(&mut self, setting: &Setting) -> u32 {
        let default = || default_of(setting)?.parse().ok();
        self.optional_number(setting).or_else(default).unwrap_or_default()
    }

    /// Returns a number, or `None` if it is not set or invalid.
    pub fn optional_number(&mut self, setting: &Setting) -> Option<u32> {
        let given = self.given(setting)?;
        let number = match given {
            Given::Text(text) => text.parse().ok(),
            Given::Member(value) => {
                value.as_integer().and_then(|number| u32::try_from(number).ok())
            }
        };
        let Kind::Number { min, max, or_zero } = setting.kind else { return number };
        let is_valid = |number: &u32| (min..=max).contains(number) || or_zero && *number == 0;
        let number = number.filter(is_valid);
        if number.is_none() {
            let or_zero = if or_zero { ", or 0" } else { "" };
            let problem = format!("{}{or_zero}", ConfigErrorKind::NotInRange(min, max));
            self.add_error(setting, problem);
        }
        number
    }

    /// Returns the path of a file, or `None` if it is not set or invalid.
    pub fn path(&mut self, setting: &Setting) -> Option<PathBuf> {
        match self.given(setting)? {
            Given::Text(text) => Some(PathBuf::from(text)),
            given @ Given::Member(_) => {
                let text = self.expect_text(setting, given)?;
                self.file.as_ref().map(|file| file.path(&text))
            }
        }
    }

    /// Returns what a flag, a variable or the file gives, and adds an error if nothing does and the
    /// setting is required.
    fn given(&mut self, setting: &Setting) -> Option<Given> {
        let text = self.flag(setting).or_else(|| self.variable(setting.variable));
        let given = text.map(Given::Text).or_else(|| self.member(setting).map(Given::Member));
        if let (None, Unset::Required(advice), false) =
            (&given, setting.unset, self.is_file_invalid)
        {
            let variable = setting.variable;
            let problem = match self.file {
                Some(_) => format!("is not set; {advice}, here or as {variable}"),
                None => format!("is not set; {advice}"),
            };
            self.add_error(setting, problem);
        }
        given
    }

    fn flag(&self, setting: &Setting) -> Option<String> {
        self.flags.get(setting.variable).filter(|text| !text.is_empty()).cloned()
    }

    /// Returns the names of all environment variables.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns an environment variable, unless it is empty.
    pub fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|text| !text.is_empty())
    }

    pub(super) fn member(&self, setting: &Setting) -> Option<Value> {
        self.file.as_ref()?.member(setting.section, setting.file_member()).cloned()
    }

    /// Returns a text. In the file, an empty one is an error.
    pub(super) fn expect_text(&mut self, setting: &Setting, given: Given) -> Option<String> {
        match given {
            Given::Text(text) => Some(text),
            Given::Member(Value::String(text)) if text.is_empty() => {
                self.add_error(setting, "is empty; give a value, or remove it");
                None
            }
            Given::Member(Value::String(text)) => self.resolve(setting, text),
            Given::Member(_) => {
                self.add_error(setting, ConfigErrorKind::NotA("a text"));
                None
            }
        }
    }

    /// Replaces `${NAME}` in a text of the file by that variable.
    fn resolve(&mut self, setting: &Setting, text: String) -> Option<String> {
        match file::variable(&text) {
            None => Some(text),
            Some(None) => {
                self.add_error(setting, ConfigErrorKind::NotAVariable);
                None
            }
            Some(Some(name)) => {
                let value = self.variable(name);
                if value.is_none() {
                    self.add_error(setting, ConfigErrorKind::NoSuchVariable(name.to_owned()));
                }
                value
            }
        }
    }
}

impl Given {
    fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Member(value) => value.as_str(),
        }
    }
}

fn default_of(setting: &Setting) -> Option<String> {
    match setting.unset {
        Unset::Default(value) => Some(value.to_owned()),
        Unset::Otherwise(_) | Unset::Required(_) => None,
    }
}

fn has_password(url: &str) -> bool {
    url.contains('@') || url.contains("password=")
}
