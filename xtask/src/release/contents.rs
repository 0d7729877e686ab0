//! What a published npm package must have, and what it must not have.

use crate::package::LICENSES;
use crate::workspace::root;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Checks an unpacked package. Returns an error with everything that is wrong.
pub fn check(package: &Path, version: &str) -> Result<()> {
    let mut wrong = Vec::new();
    for name in LICENSES.iter().chain(&["README.md", "package.json"]) {
        if !package.join(name).is_file() {
            wrong.push(format!("{name} is missing"));
        }
    }
    let text = fs::read_to_string(package.join("package.json")).context("package.json")?;
    let manifest: Value = serde_json::from_str(&text).context("package.json")?;
    let stated = manifest.get("version").and_then(Value::as_str).unwrap_or_default();
    if stated != version {
        wrong.push(format!("package.json has version {stated}, and not {version}"));
    }
    for member in ["description", "files", "license", "name"] {
        if manifest.get(member).is_none() {
            wrong.push(format!("package.json lacks {member}"));
        }
    }
    for target in ["bin", "exports", "main", "types"].iter().filter_map(|name| manifest.get(name)) {
        for file in texts(target) {
            if !package.join(file).is_file() {
                wrong.push(format!("package.json names {file}, which is missing"));
            }
        }
    }
    let mut files = Vec::new();
    collect(package, &mut files)?;
    for file in &files {
        let name = file.strip_prefix(package)?;
        wrong.extend(fault_of_name(name).map(|fault| format!("{}: {fault}", name.display())));
        // A native program has the paths of its sources, and constants of parsers of keys.
        if !name.starts_with("bin") {
            let content = fs::read(file)?;
            wrong.extend(
                fault_of_content(&content).map(|fault| format!("{}: {fault}", name.display())),
            );
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("; "));
    }
    Ok(())
}

/// Returns all texts of a value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Object(members) => members.values().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

/// Returns why a file must not be in a package: it is a test, or may hold secrets.
pub fn fault_of_name(name: &Path) -> Option<&'static str> {
    let parts = || name.iter().filter_map(|part| part.to_str());
    if parts().any(|part| ["fixtures", "node_modules", "spec", "test", "tests"].contains(&part))
        || parts().any(|part| part.contains(".test.") || part.contains(".spec."))
    {
        return Some("a test, or what a test needs");
    }
    let is_secret = |part: &str| {
        let ending = part.rsplit('.').next().unwrap_or_default();
        part.starts_with('.') || ["db", "jwk", "key", "log", "p12", "pem"].contains(&ending)
    };
    parts().any(is_secret).then_some("may hold a secret")
}

/// Returns why a file's content must not be in a package.
pub fn fault_of_content(content: &[u8]) -> Option<&'static str> {
    let contains = |wanted: &str| {
        !wanted.is_empty() && content.windows(wanted.len()).any(|part| part == wanted.as_bytes())
    };
    if contains("PRIVATE KEY-----\n") {
        return Some("a private key");
    }
    let home = std::env::var("HOME").unwrap_or_default();
    let homes = [root().display().to_string(), home].map(|folder| format!("{folder}/"));
    homes
        .iter()
        .any(|folder| folder.len() > 2 && contains(folder))
        .then_some("a path of this machine")
}
