//! The crates for crates.io: those of other programs' use, and what they depend on.

use crate::package::LICENSES;
use crate::process::output;
use crate::workspace::{at, cargo};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// Packages each crate, and checks what a stranger needs of it. With `verify`, Cargo also builds
/// each one from its package.
pub fn package(verify: bool) -> Result<String> {
    let packages = described()?;
    let mut command = cargo();
    command.args(["package", "--quiet", "--locked", "--allow-dirty"]);
    if !verify {
        command.arg("--no-verify");
    }
    output(command.args(CRATES.iter().flat_map(|name| ["-p", name])))?;
    for (name, version) in &packages {
        let archive = at("target/package").join(format!("{name}-{version}.crate"));
        let list = output(Command::new("tar").arg("-tzf").arg(&archive))?;
        let files: BTreeSet<&str> =
            list.lines().filter_map(|line| line.split_once('/')).map(|(_, file)| file).collect();
        for wanted in LICENSES.iter().chain(&["Cargo.toml", "README.md", "src/lib.rs"]) {
            if !files.contains(wanted) {
                bail!("{}: {wanted} is missing", archive.display());
            }
        }
    }
    let built = if verify { "each built from its package" } else { "not built; --long does it" };
    let names: Vec<String> =
        packages.iter().map(|(name, version)| format!("{name} {version}")).collect();
    Ok(format!("{}; {built}", names.join(", ")))
}

/// Returns name and version of each crate. Returns an error if one lacks what crates.io shows, or
/// if one depends on a crate of this workspace that is not published.
fn described() -> Result<Vec<(String, String)>> {
    let text = output(cargo().args(["metadata", "--no-deps", "--format-version=1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let all = metadata.get("packages").and_then(Value::as_array).context("cargo metadata")?;
    let mut found = Vec::new();
    for name in CRATES {
        let package = all.iter().find(|package| package.get("name").is_some_and(|own| own == name));
        let package = package.with_context(|| format!("there is no crate {name}"))?;
        for member in ["description", "license", "readme"] {
            if package.get(member).and_then(Value::as_str).is_none() {
                bail!("{name}: Cargo.toml lacks {member}");
            }
        }
        if package.get("publish").is_some_and(|publish| !publish.is_null()) {
            bail!("{name}: Cargo.toml forbids to publish it");
        }
        let dependencies = package.get("dependencies").and_then(Value::as_array);
        for dependency in dependencies.into_iter().flatten() {
            let text = |member: &str| dependency.get(member).and_then(Value::as_str);
            let (other, is_own) = (text("name").unwrap_or_default(), text("path").is_some());
            if is_own && !CRATES.contains(&other) {
                bail!("{name} depends on {other}, which is not published");
            }
        }
        let version = package.get("version").and_then(Value::as_str).unwrap_or_default();
        found.push((name.to_owned(), version.to_owned()));
    }
    Ok(found)
}

/// The published crates, each after those that it depends on.
pub const CRATES: [&str; 4] = [
    "portcullis-setting-names",
    "portcullis-redis-rest",
    "portcullis-memcached",
    "portcullis-core",
];
