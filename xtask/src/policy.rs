//! The policy file, portcullis.toml: read, checked for each environment, and given to the Worker.

mod command;
mod node;
mod schema;

pub use command::{Options, run};
pub use node::{build_for_tests, package};

use crate::workspace::at;
use crate::wrangler_toml::wrangler_toml_of;
use anyhow::{Context as _, Result, bail};
use portcullis_core::Policy;
use serde_json::{Map, Value};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The policy file of this workspace.
pub fn file() -> PathBuf {
    at("portcullis.toml")
}

/// Returns the sections of a policy file, those of its environments included.
pub fn read(file: &Path) -> Result<Map<String, Value>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    toml::from_str(&text).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))
}

/// Returns the module that gives a policy to the Worker.
pub fn module(sections: &Map<String, Value>) -> String {
    let text = Value::Object(sections.clone()).to_string();
    format!("export default {};\n", Value::String(text))
}

/// Checks the policy of a folder for each environment, and puts it into the folder's build/, next to
/// the built Worker.
pub fn build(project: &Path) -> Result<()> {
    let file = project.join("portcullis.toml");
    let sections = read(&file)?;
    let wrangler = wrangler_toml_of(project)?;
    let environments = sections.get("env").and_then(Value::as_object);
    let names = environments.into_iter().flat_map(Map::keys).map(|name| Some(name.as_str()));
    let mut errors = String::new();
    for environment in std::iter::once(None).chain(names) {
        let vars = vars(&wrangler, environment);
        let lookup = |name: &str| match (name, environment) {
            ("PORTCULLIS_ENV", Some(environment)) => Some(environment.to_owned()),
            _ => text(vars.get(name)?),
        };
        let document = Value::Object(sections.clone()).to_string();
        for error in Policy::assume(&document, lookup).err().unwrap_or_default() {
            let place = environment.map(|name| format!("[env.{name}] ")).unwrap_or_default();
            writeln!(errors, "  {place}{error}")?;
        }
    }
    if !errors.is_empty() {
        bail!("{} is invalid:\n{errors}", file.display());
    }
    let folder = project.join("build");
    fs::create_dir_all(&folder)?;
    let (target, module) = (folder.join(MODULE), module(&sections));
    // An untouched file starts no reload.
    if fs::read_to_string(&target).is_ok_and(|old| old == module) {
        return Ok(());
    }
    fs::write(&target, module).with_context(|| format!("can't write {}", target.display()))
}

/// Returns the variables of wrangler.toml that go with an environment of the policy.
fn vars(wrangler: &Value, environment: Option<&str>) -> Map<String, Value> {
    let of = |table: &Value| table.get("vars").and_then(Value::as_object).cloned();
    let Some(name) = environment else {
        return of(wrangler).unwrap_or_default();
    };
    let environments = wrangler.get("env").and_then(Value::as_object);
    let mut environments = environments.into_iter().flatten();
    let selects = |(own, table): &(&String, &Value)| {
        let selected = table.pointer("/vars/PORTCULLIS_ENV").and_then(Value::as_str);
        selected.unwrap_or(own) == name
    };
    environments.find(selects).and_then(|(_, table)| of(table)).unwrap_or_default()
}

/// Returns a variable as the Worker reads it.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Returns the places at which two policies differ, each with both values.
pub fn changes(old: &Map<String, Value>, new: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    compare("", &Value::Object(old.clone()), &Value::Object(new.clone()), &mut found);
    found
}

fn compare(place: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            for name in names {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                let of = |table: &Map<String, Value>| table.get(name).cloned().unwrap_or_default();
                compare(&place, &of(old), &of(new), found);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.iter().chain(new).all(Value::is_object) => {
            for at in 0..old.len().max(new.len()) {
                let of = |list: &[Value]| list.get(at).cloned().unwrap_or_default();
                let label =
                    [new, old].into_iter().find_map(|list| list.get(at)?.get("name")?.as_str());
                let label = label.map(|name| format!(" ({name})")).unwrap_or_default();
                compare(&format!("{place}[{at}]{label}"), &of(old), &of(new), found);
            }
        }
        _ if old == new => {}
        (Value::Null, new) => found.push(format!("{place}: added: {new}")),
        (old, Value::Null) => found.push(format!("{place}: removed: {old}")),
        (old, new) => found.push(format!("{place}: {old} is now {new}")),
    }
}

/// The module's name.
pub const MODULE: &str = "policy.js";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::root;
    use serde_json::json;

    fn sections(value: &Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn changes_name_their_places() {
        let old = json!({ "store": { "url": "a", "timeout_ms": 1 }, "routes": [
            { "name": "x", "path": "/x" }, { "name": "y", "path": "/y" },
        ] });
        let new = json!({ "store": { "url": "b" }, "routes": [{ "name": "x", "path": "/z" }] });
        assert_eq!(changes(&sections(&old), &sections(&old)), [""; 0]);
        let found = changes(&sections(&old), &sections(&new));
        let expect = [
            r#"routes[0] (x).path: "/x" is now "/z""#,
            r#"routes[1] (y): removed: {"name":"y","path":"/y"}"#,
            r#"store.timeout_ms: removed: 1"#,
            r#"store.url: "a" is now "b""#,
        ];
        assert_eq!(found, expect);
    }

    #[test]
    fn variables_are_those_of_the_environment() {
        let wrangler = json!({ "vars": { "A": 1 }, "env": {
            "staging": { "vars": { "A": 2 } },
            "eu": { "vars": { "A": 3, "PORTCULLIS_ENV": "europe" } },
        } });
        let of = |name| vars(&wrangler, name).get("A").cloned().unwrap_or_default();
        assert_eq!([of(None), of(Some("staging")), of(Some("europe"))], [1, 2, 3].map(Value::from));
        assert_eq!(of(Some("eu")), Value::Null);
    }

    #[test]
    fn shipped_policy_is_valid() {
        let sections = Value::Object(read(&file()).unwrap()).to_string();
        let vars = vars(&wrangler_toml_of(root()).unwrap(), None);
        let policy = Policy::assume(&sections, |name| text(vars.get(name)?)).unwrap();
        assert_eq!(policy.warnings, []);
    }
}
