//! The policy file as the Worker has it: JSON, with the sections of all environments.

use super::error::{ConfigError, ConfigErrorKind};
use crate::json;
use serde_json::{Map, Value};

/// Returns the sections for an environment: those of the file, and over them those of `[env.NAME]`.
/// Tables are joined member by member; anything else is replaced. A blank name selects no
/// environment.
///
/// # Errors
///
/// The text is not a JSON object, or it has no environment of that name.
pub(super) fn sections(
    text: &str,
    environment: Option<&str>,
) -> Result<Map<String, Value>, ConfigError> {
    let error = |name: &str, kind| ConfigError { name: name.to_owned(), entry: None, kind };
    let value = json::value(text.as_bytes())
        .map_err(|fault| error(FILE, ConfigErrorKind::Malformed(fault.to_string())))?;
    let Value::Object(mut sections) = value else {
        return Err(error(FILE, ConfigErrorKind::NotA("a table")));
    };
    let environments = match sections.remove("env") {
        None => Map::new(),
        Some(Value::Object(environments)) => environments,
        Some(_) => return Err(error("env", ConfigErrorKind::NotA("a table"))),
    };
    let Some(name) = environment.filter(|name| !name.trim().is_empty()) else {
        return Ok(sections);
    };
    match environments.get(name) {
        Some(Value::Object(changes)) => {
            merge(&mut sections, changes);
            Ok(sections)
        }
        Some(_) => Err(error(&format!("env.{name}"), ConfigErrorKind::NotA("a table"))),
        None => {
            let names: Vec<String> = environments.keys().cloned().collect();
            Err(error(ENVIRONMENT, ConfigErrorKind::NoSuchEnvironment(names.join(", "))))
        }
    }
}

/// Lays `changes` over tables, member by member. Replaces lists and other values as a whole.
pub fn merge(tables: &mut Map<String, Value>, changes: &Map<String, Value>) {
    for (name, change) in changes {
        match (tables.get_mut(name), change) {
            (Some(Value::Object(table)), Value::Object(change)) => merge(table, change),
            _ => {
                tables.insert(name.clone(), change.clone());
            }
        }
    }
}

/// The variable that names the environment.
pub(super) const ENVIRONMENT: &str = "PORTCULLIS_ENV";
const FILE: &str = "portcullis.toml";
