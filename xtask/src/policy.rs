//! The policy file, portcullis.toml: reads it, checks it for each environment, and passes it to the
//! Worker.

mod command;
mod schema;
mod signature;

pub use command::{Options, run};
pub use portcullis_policy::module;

use crate::workspace::at;
use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

/// Returns the path of this workspace's policy file.
pub fn file() -> PathBuf {
    at("portcullis.toml")
}

/// Returns the sections of a policy file, including those of its environments.
pub fn read(file: &Path) -> Result<Map<String, Value>> {
    let path = file.display().to_string();
    let text = fs::read_to_string(file).with_context(|| format!("can't read {path}"))?;
    portcullis_policy::sections(&path, text).map_err(anyhow::Error::msg)
}

/// Checks the policy of a folder for each environment, and writes it to the folder's build/, next
/// to the built Worker.
pub fn build(project: &Path) -> Result<()> {
    let [file, wrangler] = ["portcullis.toml", "wrangler.toml"].map(|name| project.join(name));
    let [path, wrangler] = [&file, &wrangler].map(|path| path.display().to_string());
    let outcome = command::execute(&["check", &path, "--wrangler", &wrangler])?;
    if outcome.status != 0 {
        bail!("the policy is invalid:\n{}", outcome.text);
    }
    let sections = read(&file)?;
    let folder = project.join("build");
    fs::create_dir_all(&folder)?;
    let (target, module) = (folder.join(MODULE), module(&sections));
    // Rewriting an unchanged file would restart a running Worker.
    if fs::read_to_string(&target).is_ok_and(|old| old == module) {
        return Ok(());
    }
    fs::write(&target, module).with_context(|| format!("can't write {}", target.display()))
}

/// Returns a variable as the Worker reads it.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Returns the places where two policies differ, each with both values.
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
    fn shipped_policy_is_valid() {
        let outcome = command::execute(&[
            "check",
            &file().display().to_string(),
            "--wrangler",
            &at("wrangler.toml").display().to_string(),
        ])
        .unwrap();
        assert_eq!(outcome.status, 0, "{}", outcome.text);
        assert!(outcome.text.contains("0 errors, 0 risks"), "{}", outcome.text);
    }
}
