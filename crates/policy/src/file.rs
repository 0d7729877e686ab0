//! A policy file: its sections, and where in the text each member stands.

use serde_json::{Map, Value};
use std::collections::HashMap;
use toml::de::{DeTable, DeValue};

/// A policy file that is TOML, whatever else may be wrong with it.
pub(crate) struct PolicyFile {
    /// The sections as JSON, those of the environments included.
    pub(crate) sections: Map<String, Value>,
    text: String,
    /// The offset of each member, by its place.
    offsets: HashMap<String, usize>,
}

/// A line and a column of a file, both from 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// An error that keeps a text from being TOML.
pub(crate) struct SyntaxError {
    pub(crate) position: Position,
    pub(crate) message: String,
}

impl PolicyFile {
    /// Parses a file. Returns all its syntax errors if it has some.
    pub(crate) fn parse(text: String) -> Result<Self, Vec<SyntaxError>> {
        let (table, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            let at = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
            return Err(errors
                .iter()
                .map(|error| SyntaxError {
                    position: position(&text, at(error)),
                    message: error.message().to_owned(),
                })
                .collect());
        }
        let mut offsets = HashMap::new();
        note_table("", table.get_ref(), &mut offsets);
        let sections = toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let position = position(&text, start);
            vec![SyntaxError { position, message: error.message().to_owned() }]
        })?;
        Ok(Self { sections, text, offsets })
    }

    /// Returns the policy as the Worker gets it.
    pub(crate) fn document(&self) -> String {
        Value::Object(self.sections.clone()).to_string()
    }

    /// Returns where a place of the policy stands, or the part of it that the file has.
    pub(crate) fn position(&self, place: &str, environment: Option<&str>) -> Position {
        let place = place.split(": ").next().unwrap_or(place);
        let mut rest = Some(place);
        while let Some(part) = rest {
            let own = environment.map(|name| format!("env.{name}.{part}"));
            let found = own.and_then(|own| self.offsets.get(&own)).or(self.offsets.get(part));
            if let Some(offset) = found {
                return position(&self.text, *offset);
            }
            rest = part.rfind(['.', '[']).and_then(|end| part.get(..end));
        }
        Position { line: 1, column: 1 }
    }
}

fn note_table(place: &str, table: &DeTable<'_>, offsets: &mut HashMap<String, usize>) {
    for (key, value) in table {
        let name = key.get_ref();
        let place = if place.is_empty() { name.to_string() } else { format!("{place}.{name}") };
        offsets.insert(place.clone(), key.span().start);
        note(&place, value.get_ref(), offsets);
    }
}

fn note(place: &str, value: &DeValue<'_>, offsets: &mut HashMap<String, usize>) {
    match value {
        DeValue::Table(table) => note_table(place, table, offsets),
        DeValue::Array(values) => {
            for (at, value) in values.iter().enumerate() {
                let place = format!("{place}[{at}]");
                offsets.insert(place.clone(), value.span().start);
                note(&place, value.get_ref(), offsets);
            }
        }
        _ => {}
    }
}

fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Position { line, column }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[store]\nurl = \"x\"\n\n[[routes]]\nname = \"a\"\n[[routes]]\n  name = \"b\"\n\
        limit = { quota = 1 }\n[env.staging.store]\nurl = \"y\"\n";

    #[test]
    fn places_have_positions() {
        let file = PolicyFile::parse(TEXT.to_owned()).ok().unwrap();
        let at = |place: &str, environment: Option<&str>| {
            let Position { line, column } = file.position(place, environment);
            (line, column)
        };
        assert_eq!(at("store.url", None), (2, 1));
        assert_eq!(at("store.url", Some("staging")), (10, 1));
        assert_eq!(at("routes[1].name", Some("staging")), (7, 3));
        assert_eq!(at("routes[1].limit.quota", None), (8, 11));
        assert_eq!(at("routes[1].limit.burst", None).0, 8, "the nearest that there is");
        assert_eq!(at("routes[1].cost: limit l", None).0, 6);
        assert_eq!(at("STORE_TOKEN", None), (1, 1));
    }

    #[test]
    fn syntax_errors_are_all_found() {
        let errors = PolicyFile::parse("a = \nb = 1\nc = [\n".to_owned()).err().unwrap();
        let lines: Vec<usize> = errors.iter().map(|error| error.position.line).collect();
        assert!(lines.contains(&1) && lines.contains(&3), "{lines:?}");
    }
}
