//! The JSON Schema of the policy file, by which editors complete and explain its members. It is
//! derived from the members that core's readers request.

use crate::workspace::at;
use anyhow::{Context as _, Result};
use portcullis_core::{MemberShape, Policy, PolicyMember, TextFormat};
use portcullis_policy::described_place;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;

/// Prints the schema.
pub fn print() -> Result<()> {
    print!("{}", text()?);
    Ok(())
}

/// Writes the schema to docs/portcullis.schema.json.
pub fn write() -> Result<()> {
    fs::write(at(FILE), text()?).with_context(|| format!("can't write {FILE}"))?;
    println!("{FILE} is written");
    Ok(())
}

fn text() -> Result<String> {
    Ok(format!("{:#}\n", schema(&Policy::members(), &descriptions()?)))
}

/// One sentence for each place in the policy file.
type Descriptions = BTreeMap<String, String>;

fn descriptions() -> Result<Descriptions> {
    portcullis_policy::descriptions().context("crates/policy/src/members.toml is malformed")
}

/// Returns the schema of a file with these members.
fn schema(members: &[PolicyMember], descriptions: &Descriptions) -> Value {
    let writer = Writer { members, descriptions };
    let mut file = writer.table("", Completeness::Whole);
    let overlay = writer.table("", Completeness::Part);
    let environments = json!({
        "type": "object",
        "description": ENVIRONMENTS,
        "additionalProperties": overlay,
    });
    let lists = members.iter().filter(|member| member.shape == MemberShape::Tables);
    let mut definitions: Map<String, Value> = lists
        .map(|list| (list.place.clone(), writer.table(&list.place, Completeness::Whole)))
        .collect();
    definitions.insert("variable".into(), json!({ "type": "string", "pattern": VARIABLE }));
    definitions.insert("malformed_variable".into(), json!({ "pattern": MALFORMED_VARIABLE }));
    let head = [
        ("$schema", json!("http://json-schema.org/draft-07/schema#")),
        ("title", json!("portcullis.toml")),
        ("description", json!("The policy of the edge of Portcullis.")),
        ("definitions", definitions.into()),
    ];
    if let Some(file) = file.as_object_mut() {
        file.extend(head.map(|(name, value)| (name.to_owned(), value)));
    }
    if let Some(sections) = file.get_mut("properties").and_then(Value::as_object_mut) {
        sections.insert("env".into(), environments);
    }
    file
}

/// Whether a table is complete, or an overlay of another table that may have the missing members.
#[derive(Clone, Copy, PartialEq)]
enum Completeness {
    Whole,
    Part,
}

struct Writer<'a> {
    members: &'a [PolicyMember],
    descriptions: &'a Descriptions,
}

impl Writer<'_> {
    /// Returns the schema of the table at a place.
    fn table(&self, place: &str, completeness: Completeness) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        for member in self.members {
            let Some(name) = name_in(place, &member.place) else {
                continue;
            };
            if member.is_required && completeness == Completeness::Whole {
                required.push(name);
            }
            properties.insert(name.to_owned(), self.member(member, completeness));
        }
        let mut table = json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        });
        if !required.is_empty() {
            insert(&mut table, "required", json!(required));
        }
        table
    }

    fn member(&self, member: &PolicyMember, completeness: Completeness) -> Value {
        let mut schema = match &member.shape {
            MemberShape::Table => self.table(&member.place, completeness),
            MemberShape::Tables => json!({
                "type": "array",
                "minItems": 1,
                "items": reference(&member.place),
            }),
            shape => of_shape(shape),
        };
        // Taplo shows the branches of `anyOf`, but not the members next to it.
        let shown = match schema.pointer_mut("/anyOf/0") {
            Some(_) => schema.pointer_mut("/anyOf/0"),
            None => Some(&mut schema),
        };
        // In an overlay, a missing member means the file's value.
        let default = member.default.as_ref().filter(|_| completeness == Completeness::Whole);
        if let Some(shown) = shown {
            insert(shown, "description", json!(self.description(member, default)));
            if let Some(default) = default {
                insert(shown, "default", default.clone());
            }
        }
        schema
    }

    /// Returns the text that editors show: the member's sentence, its bounds and its default.
    fn description(&self, member: &PolicyMember, default: Option<&Value>) -> String {
        let sentence = self.descriptions.get(&described_place(&member.place));
        let mut parts: Vec<String> = sentence.cloned().into_iter().collect();
        if let MemberShape::Number { min, max } = member.shape {
            parts.push(format!("{min} to {max}."));
        }
        parts.extend(default.map(|default| format!("Default: `{default}`.")));
        parts.join(" ")
    }
}

/// Returns the name of the member at `member` if it is one of the table at `table`.
fn name_in<'m>(table: &str, member: &'m str) -> Option<&'m str> {
    let name = match table {
        "" => member,
        table => member.strip_prefix(table)?.strip_prefix('.')?,
    };
    (!name.contains('.')).then_some(name)
}

/// Returns the schema of a member that has no members of its own.
fn of_shape(shape: &MemberShape) -> Value {
    match shape {
        MemberShape::Any => json!({}),
        MemberShape::Flag => json!({ "type": "boolean" }),
        MemberShape::Number { min, max } => {
            json!({ "type": "integer", "minimum": min, "maximum": max })
        }
        MemberShape::Text(format) => of_text(*format),
        MemberShape::OneOf(names) => one_of(names),
        MemberShape::Scalar => any_of(vec![
            of_text(TextFormat::Any),
            json!({ "type": "number" }),
            json!({ "type": "boolean" }),
        ]),
        MemberShape::OneOrMore(of) => {
            let one = of_shape(of);
            let list = json!({ "type": "array", "minItems": 1, "items": one });
            any_of(vec![one, list])
        }
        MemberShape::List(of) => json!({ "type": "array", "items": of_shape(of) }),
        MemberShape::Map { of, min } => json!({
            "type": "object",
            "minProperties": min,
            "additionalProperties": of_shape(of),
        }),
        MemberShape::Table | MemberShape::Tables => json!({ "type": ["array", "object"] }),
    }
}

/// Returns the schema of a text, which may be a variable.
fn of_text(format: TextFormat) -> Value {
    let mut schema = json!({ "type": "string", "not": reference("malformed_variable") });
    let pattern = match format {
        TextFormat::Any => return schema,
        TextFormat::Nonempty => {
            insert(&mut schema, "minLength", json!(1));
            return schema;
        }
        TextFormat::Name => "[A-Za-z0-9_-]{1,64}".to_owned(),
        TextFormat::Place => PLACE.to_owned(),
        TextFormat::Url => URL.to_owned(),
        TextFormat::UrlOrBinding => format!("{URL}|{BINDING}(/{PATH}| {URL})?"),
        TextFormat::BaseUrl => BASE_URL.to_owned(),
        TextFormat::BaseUrlOrBinding => format!("{BASE_URL}|{BINDING}(/{BASE_PATH}| {BASE_URL})?"),
        TextFormat::StoreUrl => format!("{BASE_URL}|{MEMCACHED}"),
    };
    let variable = VARIABLE.trim_matches(['^', '$']);
    insert(&mut schema, "pattern", json!(format!("^({variable}|{pattern})$")));
    schema
}

/// Returns the schema of a text that is one of some names, or a variable.
fn one_of(names: &[String]) -> Value {
    let (open, closed): (Vec<_>, Vec<_>) = names.iter().partition(|name| name.ends_with(":NAME"));
    let mut branches = vec![json!({ "type": "string", "enum": closed })];
    for name in open {
        let start = name.trim_end_matches("NAME");
        branches.push(json!({
            "type": "string",
            "pattern": format!("^{start}."),
            "not": reference("malformed_variable"),
        }));
    }
    branches.push(reference("variable"));
    any_of(branches)
}

/// Returns a schema of which one branch must match. A nested branch is replaced by its own
/// branches.
fn any_of(branches: Vec<Value>) -> Value {
    let branches = branches.into_iter().flat_map(|branch| match branch.get("anyOf") {
        Some(Value::Array(own)) => own.clone(),
        _ => vec![branch],
    });
    json!({ "anyOf": branches.collect::<Vec<_>>() })
}

fn reference(definition: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{definition}") })
}

fn insert(schema: &mut Value, name: &str, value: Value) {
    if let Some(members) = schema.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

/// The committed schema.
pub const FILE: &str = "docs/portcullis.schema.json";

const ENVIRONMENTS: &str = "Sections of each environment, which are laid over the file if the \
    variable `PORTCULLIS_ENV` is the environment's name.";
/// A text that is replaced by a variable of the Worker.
const VARIABLE: &str = r"^\$\{[A-Za-z0-9_]+\}$";
/// A text with `${` that is not the whole of `${NAME}`: there is text before it or after it, or it
/// is malformed.
const MALFORMED_VARIABLE: &str = concat!(
    r"^([\s\S]+\$\{|\$\{(\}|[A-Za-z0-9_]*[^A-Za-z0-9_}]|",
    r"[A-Za-z0-9_]*$|[A-Za-z0-9_]+\}[\s\S]))"
);
const URL: &str = r#"https?://[^\s/?#@\\"]+([/?][^\s#\\"]*)?"#;
const BASE_URL: &str = r#"https?://[^\s/?#@\\"]+(/[^\s?#\\"]*)?"#;
/// A claim's name, or a JSON Pointer.
const PLACE: &str = r"[^/][\s\S]*|(/([^/~]|~[01])*)+";
const BINDING: &str = "binding:[A-Za-z0-9_]+";
/// A path below a binding.
const PATH: &str = r#"[^\s#\\"]*"#;
const BASE_PATH: &str = r#"[^\s?#\\"]*"#;
const MEMCACHED: &str = r"memcacheds?://[A-Za-z0-9._:\[\]-]+:[0-9]+/?";

#[cfg(test)]
mod tests;
