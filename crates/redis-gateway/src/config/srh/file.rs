//! serverless-redis-http's file of tokens. An error names an entry by its position, since its name
//! is the token itself.

use super::entry::{CONNECTIONS_DEFAULT, CONNECTIONS_FORMAT, SrhEntry, TOKEN_FORMAT, is_token};
use crate::token::is_name;
use portcullis_server::settings::{Place, SettingError};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// Reads a file. Returns its entries, as far as they are known, and all errors in them.
pub(super) fn read(path: &Path) -> (Vec<SrhEntry>, Vec<SettingError>) {
    let file = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&file, &text),
        Err(error) => {
            let problem = format!("can't be read: {error}; let the redis gateway's user read it");
            (Vec::new(), vec![Place::named(file).error(problem)])
        }
    }
}

/// Parses `{"token": {"srh_id": …, "connection_string": …, "max_connections": …}, …}`.
fn parse(file: &str, text: &str) -> (Vec<SrhEntry>, Vec<SettingError>) {
    let members = match serde_json::from_str(text) {
        Ok(Members(members)) => members,
        Err(error) => {
            // The parser's own message may quote a token.
            let place = Place::named(format!("{file}:{}:{}", error.line(), error.column()));
            let problem = "must be a JSON object that has an object for each token";
            return (Vec::new(), vec![place.error(problem)]);
        }
    };
    let mut errors = Vec::new();
    let mut entries: Vec<SrhEntry> = Vec::new();
    if members.is_empty() {
        errors.push(Place::named(file).error("has no token; add one"));
    }
    for (index, (secret, value)) in members.into_iter().enumerate() {
        let place = Place::named(format!("{file}: entry {}", index + 1));
        let mut add = |problem: String| errors.push(place.error(problem));
        if !is_token(&secret) {
            add(format!("the token {TOKEN_FORMAT}"));
        }
        if entries.iter().any(|other| other.secret == secret) {
            add("has the token of another entry; remove one of them".to_owned());
        }
        let fields = Fields::of(&value, add);
        let id = fields.srh_id.filter(|id| {
            is_name(id) && *id != secret && !entries.iter().any(|other| other.name == *id)
        });
        if let Some(connection_string) = fields.connection_string {
            entries.push(SrhEntry {
                place,
                name: id.unwrap_or_else(|| format!("srh-{}", index + 1)),
                secret,
                connection_string,
                connections: fields.connections,
            });
        }
    }
    (entries, errors)
}

/// The members of an entry, as far as they are valid.
#[derive(Default)]
struct Fields {
    srh_id: Option<String>,
    connection_string: Option<String>,
    connections: usize,
}

impl Fields {
    /// Reads the members, and calls `add` with each error.
    fn of(value: &Value, mut add: impl FnMut(String)) -> Self {
        let known = KNOWN.join(", ");
        let Some(object) = value.as_object() else {
            add(format!("must be an object with {known}"));
            return Self::default();
        };
        if object.keys().any(|name| !KNOWN.contains(&name.as_str())) {
            add(format!("has an unknown member; it may have {known}"));
        }
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
        let (srh_id, connection_string) = (text("srh_id"), text("connection_string"));
        if srh_id.is_none() {
            add("srh_id must be a text, such as \"main\"".to_owned());
        }
        if connection_string.is_none() {
            add("connection_string must be a text, such as \"redis://redis:6379\"".to_owned());
        }
        let connections = match object.get("max_connections") {
            None => Some(CONNECTIONS_DEFAULT),
            Some(value) => value.as_u64().and_then(|number| usize::try_from(number).ok()),
        };
        let connections = connections.filter(|number| *number > 0);
        if connections.is_none() {
            add(format!("max_connections {CONNECTIONS_FORMAT}"));
        }
        let connections = connections.unwrap_or(CONNECTIONS_DEFAULT);
        Self { srh_id, connection_string, connections }
    }
}

/// The members of an object, in their order. One that is there twice is here twice.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

const KNOWN: [&str; 3] = ["srh_id", "connection_string", "max_connections"];
