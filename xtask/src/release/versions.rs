//! The version, which stands in several files.

use super::changelog;
use super::workflow::Workflow;
use crate::workspace::at;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A version, and the place where it is written.
#[derive(Debug)]
pub struct Stated {
    pub place: String,
    pub version: String,
}

/// Returns the version of the workspace.
pub fn version() -> Result<String> {
    let manifest: Value = toml::from_str(&fs::read_to_string(at("Cargo.toml"))?)?;
    let version = manifest.pointer("/workspace/package/version").and_then(Value::as_str);
    Ok(version.context("Cargo.toml: workspace.package.version is missing")?.to_owned())
}

/// Checks that all files state the workspace's version, and the tag too.
pub fn check(version: &str, workflow: Option<&Workflow>) -> Result<String> {
    let mut stated = of_crates(&fs::read_to_string(at("Cargo.toml"))?)?;
    for file in PACKAGES {
        stated.extend(of_package(file, &fs::read_to_string(at(file))?)?);
    }
    let archives = of_archives(PAGE, &fs::read_to_string(at(PAGE))?);
    if archives.is_empty() {
        bail!("{PAGE} names no archive");
    }
    stated.extend(archives);
    if let Some(Workflow { tag, .. }) = workflow {
        let version = tag.strip_prefix('v').unwrap_or(tag).to_owned();
        stated.push(Stated { place: format!("the tag {tag}"), version });
    }
    agree(version, &stated)?;
    let changes = changelog::text()?;
    let section = changelog::next(&changes, version, workflow.is_some())?;
    if section.name != UNRELEASED {
        check_golden(&at("tests/golden"))?;
    }
    let count = stated.len();
    Ok(format!("{version} in Cargo.toml and {count} other places; CHANGELOG.md: {}", section.name))
}

/// Returns an error if the newest golden set may still change, although a version is released with
/// it: later versions must be compared with what this one writes.
pub fn check_golden(folder: &Path) -> Result<()> {
    let numbers = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let newest = numbers.max().context("tests/golden has no set")?;
    if !folder.join(newest.to_string()).join("RELEASED").exists() {
        bail!("tests/golden/{newest} may still change; touch tests/golden/{newest}/RELEASED");
    }
    Ok(())
}

/// Returns an error that names every place with another version.
pub fn agree(version: &str, stated: &[Stated]) -> Result<()> {
    let others: Vec<String> = stated
        .iter()
        .filter(|stated| stated.version != version)
        .map(|stated| format!("{} has {}", stated.place, stated.version))
        .collect();
    if !others.is_empty() {
        bail!("Cargo.toml has {version}, but {}; write one version", others.join(", "));
    }
    Ok(())
}

/// Returns the versions that the workspace asks of its own crates.
pub fn of_crates(manifest: &str) -> Result<Vec<Stated>> {
    let manifest: Value = toml::from_str(manifest)?;
    let dependencies = manifest.pointer("/workspace/dependencies").and_then(Value::as_object);
    let dependencies = dependencies.context("Cargo.toml has no workspace.dependencies")?;
    let own = dependencies.iter().filter(|(_, value)| value.get("path").is_some());
    let stated = own.filter_map(|(name, value)| {
        let version = value.get("version")?.as_str()?.to_owned();
        Some(Stated { place: format!("Cargo.toml's dependency {name}"), version })
    });
    Ok(stated.collect())
}

/// Returns a package's version, and the versions that it asks of this project's packages.
pub fn of_package(file: &str, text: &str) -> Result<Vec<Stated>> {
    let manifest: Value = serde_json::from_str(text).with_context(|| file.to_owned())?;
    let version = manifest.get("version").and_then(Value::as_str);
    let version = version.with_context(|| format!("{file} has no version"))?.to_owned();
    let mut stated = vec![Stated { place: file.to_owned(), version }];
    let dependencies = manifest.get("dependencies").and_then(Value::as_object);
    for (name, version) in dependencies.into_iter().flatten() {
        let version = version.as_str().unwrap_or_default().to_owned();
        stated.push(Stated { place: format!("{file}'s dependency {name}"), version });
    }
    Ok(stated)
}

/// Returns the versions in the names of archives in a page, such as `portcullis-0.1.0.tgz`.
pub fn of_archives(page: &str, text: &str) -> Vec<Stated> {
    let ends = text.match_indices(".tgz").map(|(end, _)| end);
    let versions = ends.filter_map(|end| {
        let version = text.get(..end)?.rsplit(['-', '/', '`', ' ']).next()?;
        let is_version = version.starts_with(|first: char| first.is_ascii_digit());
        is_version.then(|| Stated { place: page.to_owned(), version: version.to_owned() })
    });
    versions.collect()
}

/// The page for users that names archives.
const PAGE: &str = "docs/how-to/deploy-without-rust.md";

const PACKAGES: [&str; 4] = [
    "clients/js/package.json",
    "packages/create-portcullis/package.json",
    "packages/portcullis/package.json",
    "packages/portcullis-linux-x64/package.json",
];

/// The name of the changelog's section before a release.
const UNRELEASED: &str = "Unreleased";
