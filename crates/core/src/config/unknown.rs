//! Variables that are no settings, but seem to mean one.

use super::error::{ConfigError, ConfigErrorKind};
use crate::policy::Policy;
use std::cell::RefCell;

impl Policy {
    /// Parses the configuration as [`Policy::parse`] does. Of the variables' `names`, those that seem
    /// to mean a setting are errors, too.
    pub fn parse_named(
        names: &[String],
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        let settings = names_read(|lookup| drop(Self::parse(lookup)), |_| None);
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let mut parsed = None;
        // Issuers name variables of their own, which are the user's.
        let read = names_read(|lookup| parsed = Some(Self::parse(lookup)), lookup);
        let unread = names.iter().filter(|name| !read.contains(name));
        let unknown = unread.filter_map(|name| {
            let setting = setting_names::misspelt(name, &settings, &NAMESPACES)?.to_owned();
            Some(ConfigError { name: name.clone(), kind: ConfigErrorKind::UnknownName(setting) })
        });
        let unknown: Vec<ConfigError> = unknown.collect();
        match parsed.unwrap_or(Err(Vec::new())) {
            Ok(policy) if unknown.is_empty() => Ok(policy),
            Ok(_) => Err(unknown),
            Err(errors) => Err(errors.into_iter().chain(unknown).collect()),
        }
    }
}

/// Returns the names that `parse` looks up.
fn names_read(
    parse: impl FnOnce(&dyn Fn(&str) -> Option<String>),
    lookup: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let names = RefCell::new(Vec::new());
    parse(&|name| {
        names.borrow_mut().push(name.to_owned());
        lookup(name)
    });
    names.into_inner()
}

/// How settings begin, and hardly any variable of a user's.
const NAMESPACES: [&str; 8] = [
    "BREAKER",
    "INTROSPECTIONS_",
    "INTROSPECTION_DEADLINE",
    "KEYS_",
    "PORTCULLIS_",
    "RECORD_ENCRYPTION_",
    "REFRESH_REPLAY",
    "REVOCATION_",
];
