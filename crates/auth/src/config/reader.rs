//! The reader of settings, by their names.

use super::error::ConfigError;
use portcullis_core::Seal;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Reads settings, and collects the errors in them.
pub struct SettingsReader<'e> {
    environment: &'e dyn Fn(&str) -> Option<String>,
    file: BTreeMap<String, String>,
    pub errors: Vec<ConfigError>,
}

impl<'e> SettingsReader<'e> {
    /// Creates a reader of the environment and of `file`, if any.
    pub fn new(environment: &'e dyn Fn(&str) -> Option<String>, file: Option<&Path>) -> Self {
        let mut reader = Self { environment, file: BTreeMap::new(), errors: Vec::new() };
        if let Some(file) = file {
            reader.read_file(file);
        }
        reader
    }

    /// Reports each name of an environment variable that seems to mean a setting.
    pub fn check_names(&mut self, names: impl Iterator<Item = String>) {
        let settings: Vec<&'static str> = NAMES.into_iter().chain(["AUTH_CONFIG"]).collect();
        for name in names {
            if let Some(setting) = setting_names::misspelt(&name, &settings, &NAMESPACES) {
                self.errors.push(ConfigError::NameMisspelt { name, setting });
            }
        }
    }

    fn read_file(&mut self, file: &Path) {
        let unreadable = |why: &dyn fmt::Display| {
            ConfigError::FileUnreadable(format!("{}: {why}", file.display()))
        };
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => return self.errors.push(unreadable(&error)),
        };
        // The parser's error would show the line, which may hold a secret.
        let Ok(table) = text.parse::<toml::Table>() else {
            return self.errors.push(unreadable(&"is not TOML"));
        };
        for (name, value) in table {
            let value = match value {
                toml::Value::String(text) => Some(text),
                toml::Value::Integer(number) => Some(number.to_string()),
                _ => None,
            };
            match (NAMES.contains(&name.as_str()), value) {
                (true, Some(value)) => drop(self.file.insert(name, value)),
                (true, None) => self.errors.push(ConfigError::NotText(name)),
                (false, _) => self.errors.push(ConfigError::NameUnknown(name)),
            }
        }
        let mode = std::fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
        let has_secret = SECRETS.iter().any(|name| self.file.contains_key(*name))
            || self
                .file
                .get("DATABASE_URL")
                .is_some_and(|url| url.contains('@') || url.contains("password="));
        if mode & 0o077 != 0 && has_secret {
            self.errors.push(ConfigError::FileExposed);
        }
    }

    /// Returns a secret from the environment or the file. An empty text counts as unset.
    pub(super) fn secret(&self, name: &str) -> Option<String> {
        let set = (self.environment)(name).filter(|text| !text.is_empty());
        set.or_else(|| self.file.get(name).cloned()).filter(|text| !text.is_empty())
    }

    /// Returns a setting from its flag or the file. clap has filled the flag from the environment.
    pub(super) fn text(&self, flag: &Option<String>, name: &str) -> Option<String> {
        let flag = flag.clone().filter(|text| !text.is_empty());
        flag.or_else(|| self.file.get(name).cloned()).filter(|text| !text.is_empty())
    }

    /// Returns a value, or reports `error` if it is not set.
    pub(super) fn required(&mut self, value: Option<String>, error: ConfigError) -> String {
        if value.is_none() {
            self.errors.push(error);
        }
        value.unwrap_or_default()
    }

    /// Returns a number, and reports one that is malformed or out of range.
    pub(super) fn number(
        &mut self,
        flag: &Option<String>,
        name: &'static str,
        range: RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let Some(text) = self.text(flag, name) else { return default };
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (min, max) = range.into_inner();
            self.errors.push(ConfigError::Number { name, min, max });
        }
        number.unwrap_or(default)
    }

    /// Returns the seal of the key `name` and of its predecessor, if set. Reports `error` if they
    /// are malformed.
    pub(super) fn seal(&mut self, name: &str, error: ConfigError) -> Option<Seal> {
        let (current, previous) = (self.secret(name), self.secret(&format!("{name}_PREVIOUS")));
        let seal = current.as_ref().and_then(|key| Seal::new(key, previous.as_deref()));
        if seal.is_none() && (current.is_some() || previous.is_some()) {
            self.errors.push(error);
        }
        seal
    }
}

/// The settings without a flag.
pub(super) const SECRETS: [&str; 8] = [
    "EDGE_AUTH_KEY",
    "EDGE_AUTH_KEY_PREVIOUS",
    "INTROSPECTION_CLIENTS",
    "MASTER_KEY",
    "MASTER_KEY_PREVIOUS",
    "RECORD_ENCRYPTION_KEY",
    "RECORD_ENCRYPTION_KEY_PREVIOUS",
    "STORE_TOKEN",
];

/// How settings begin, and hardly any other variable of a system.
const NAMESPACES: [&str; 2] = ["LOGIN_ATTEMPTS_", "RECORD_ENCRYPTION_KEY_"];

/// The settings that a file may hold.
pub(super) const NAMES: [&str; 35] = [
    "ACCESS_TOKEN_FORMAT",
    "ACCESS_TOKEN_SECONDS",
    "AUDIENCE",
    "AUDIT_DAYS",
    "AUTH_ADMIN_LISTEN",
    "AUTH_CONNECTIONS_MAX",
    "AUTH_CONNECTIONS_PER_NETWORK",
    "AUTH_DRAIN_SECONDS",
    "AUTH_IDLE_SECONDS",
    "AUTH_LISTEN",
    "AUTH_TLS_CERT_FILE",
    "AUTH_TLS_KEY_FILE",
    "CLIENT_ID",
    "COOKIE_ORIGINS",
    "DATABASE_URL",
    "EDGE_AUTH_KEY",
    "EDGE_AUTH_KEY_PREVIOUS",
    "INTROSPECTION_CLIENTS",
    "ISSUER",
    "KEY_PREFIX",
    "LOGIN_ATTEMPTS_PER_ADDRESS",
    "LOGIN_ATTEMPTS_PER_USERNAME",
    "MASTER_KEY",
    "MASTER_KEY_PREVIOUS",
    "RECORD_ENCRYPTION_KEY",
    "RECORD_ENCRYPTION_KEY_PREVIOUS",
    "REFRESH_GRACE_SECONDS",
    "REFRESH_IDLE_SECONDS",
    "REFRESH_TOKEN_SECONDS",
    "SESSIONS_PER_USER_MAX",
    "SIGNING_ALGORITHM",
    "SIGNING_KEY_SECONDS",
    "STORE_TOKEN",
    "STORE_URL",
    "TRUSTED_PROXY_HOPS",
];
