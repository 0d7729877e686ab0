//! A policy file: its sections, and where in the text each member stands.

use serde_json::{Map, Number, Value};
use std::collections::HashMap;
use toml::Spanned;
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

/// Returns the sections of a policy file, those of its environments included. The error has a line
/// for each place that is not TOML.
pub fn sections(path: &str, text: String) -> Result<Map<String, Value>, String> {
    let line = |error: &SyntaxError| {
        let Position { line, column } = error.position;
        format!("{path}:{line}:{column}: {}", error.message)
    };
    let file = PolicyFile::parse(text).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(line).collect();
        lines.join("\n")
    })?;
    Ok(file.sections)
}

/// Returns the JavaScript module that gives a policy to the Worker, as JSON text.
pub fn module(sections: &Map<String, Value>) -> String {
    let text = Value::Object(sections.clone()).to_string();
    format!("export default {};\n", Value::String(text))
}

impl PolicyFile {
    /// Parses a file. Returns all its syntax errors if it has some.
    pub(crate) fn parse(text: String) -> Result<Self, Vec<SyntaxError>> {
        let (table, errors) = DeTable::parse_recoverable(&text);
        let mut reader = Reader::default();
        let mut sections = Map::new();
        for error in &errors {
            let offset = error.span().map_or(0, |span| span.start);
            reader.errors.push((offset, error.message().to_owned()));
        }
        if errors.is_empty() {
            sections = reader.table("", table.get_ref());
        }
        let Reader { offsets, errors } = reader;
        if !errors.is_empty() {
            let error =
                |(offset, message)| SyntaxError { position: position(&text, offset), message };
            return Err(errors.into_iter().map(error).collect());
        }
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

/// Turns TOML into JSON, and notes where each place stands.
#[derive(Default)]
struct Reader {
    offsets: HashMap<String, usize>,
    /// The offsets of what is not TOML, or has no equal in JSON.
    errors: Vec<(usize, String)>,
}

impl Reader {
    fn table(&mut self, place: &str, table: &DeTable<'_>) -> Map<String, Value> {
        let mut members = Map::new();
        for (key, value) in table {
            let name = key.get_ref();
            let place = if place.is_empty() { name.to_string() } else { format!("{place}.{name}") };
            members.insert(name.to_string(), self.value(&place, value));
            self.offsets.insert(place, key.span().start);
        }
        members
    }

    fn value(&mut self, place: &str, value: &Spanned<DeValue<'_>>) -> Value {
        let number = match value.get_ref() {
            DeValue::Table(table) => return Value::Object(self.table(place, table)),
            DeValue::Array(values) => {
                let values = values.iter().enumerate().map(|(at, value)| {
                    let place = format!("{place}[{at}]");
                    let entry = self.value(&place, value);
                    self.offsets.insert(place, value.span().start);
                    entry
                });
                return Value::Array(values.collect());
            }
            DeValue::String(text) => return Value::String(text.to_string()),
            DeValue::Boolean(flag) => return Value::Bool(*flag),
            DeValue::Datetime(_) => {
                Err("must not be a date or time; write it as a text, in quotes")
            }
            DeValue::Integer(number) => whole(number.as_str(), number.radix()),
            DeValue::Float(number) => fraction(number.as_str()),
        };
        number.map(Value::Number).unwrap_or_else(|error| {
            self.errors.push((value.span().start, format!("{place}: {error}")));
            Value::Null
        })
    }
}

fn whole(text: &str, radix: u32) -> Result<Number, &'static str> {
    let signed = i64::from_str_radix(text, radix).map(Number::from);
    let number = signed.or_else(|_| u64::from_str_radix(text, radix).map(Number::from));
    number.map_err(|_| "is too large a number; use one of 64 bits")
}

fn fraction(text: &str) -> Result<Number, &'static str> {
    let number = text.parse().ok().and_then(Number::from_f64);
    number.ok_or("is a number that JSON lacks; use a finite one")
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
