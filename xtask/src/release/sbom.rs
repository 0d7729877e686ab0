//! The lists of the components of what is published (SBOM), in the format of CycloneDX, from what
//! Cargo knows.

use super::context::{folder, shown};
use crate::process::output;
use crate::workspace::{at, cargo};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// A thing that is published, and the crates that it is made of.
struct Product {
    name: &'static str,
    roots: &'static [&'static str],
    target: &'static str,
}

/// Writes a list for each product into build/release.
pub fn write_all() -> Result<String> {
    let lock: Value = toml::from_str(&fs::read_to_string(at("Cargo.lock"))?)?;
    let mut written = Vec::new();
    for product in &PRODUCTS {
        let mut command = cargo();
        command.args(["metadata", "--format-version=1", "--locked", "--filter-platform"]);
        let metadata = serde_json::from_str(&output(command.arg(product.target))?)?;
        let crates = compiled(product)?;
        let list = list(&metadata, &crates, &lock, (product.name, product.roots))?;
        let count = list.get("components").and_then(Value::as_array).map_or(0, Vec::len);
        let file = folder().join(format!("{}.cdx.json", product.name));
        fs::write(&file, format!("{list:#}\n"))?;
        written.push(format!("{} ({count} components)", shown(&file)));
    }
    Ok(written.join(", "))
}

/// Returns what is compiled into a product: `name version` of each crate, by its features and its
/// target. Procedural macros and build scripts run in the compiler, so they are left out.
fn compiled(product: &Product) -> Result<BTreeSet<String>> {
    let mut command = cargo();
    command.args(["tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none"]);
    command.args(["--target", product.target]);
    Ok(names(&output(command.args(product.roots.iter().flat_map(|root| ["-p", root])))?))
}

/// Returns `name version` for each line of a tree, such as `serde v1.0.0 (*)`.
pub fn names(tree: &str) -> BTreeSet<String> {
    let lines = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?.strip_prefix('v')?))
    });
    lines.collect()
}

/// Returns the list of the product `name`, which is made of the crates `roots`, from `cargo
/// metadata`, what is compiled, and Cargo.lock. It has no time and no random number, so that equal
/// sources give equal lists.
pub fn list(
    metadata: &Value,
    compiled: &BTreeSet<String>,
    lock: &Value,
    (name, roots): (&str, &[&str]),
) -> Result<Value> {
    let mut packages = BTreeMap::new();
    for package in array(metadata.get("packages")) {
        if compiled.contains(&format!("{} {}", text(package, "name")?, text(package, "version")?)) {
            packages.insert(text(package, "id")?, package);
        }
    }
    if packages.len() != compiled.len() {
        bail!("{name}: {} crates, of which Cargo describes {}", compiled.len(), packages.len());
    }
    let listed = packages.values().map(|package| component(package, lock));
    let listed = listed.collect::<Result<Vec<_>>>()?;
    let mut dependencies = Vec::new();
    for node in array(metadata.pointer("/resolve/nodes")) {
        let Some(package) = packages.get(text(node, "id")?) else {
            continue;
        };
        let needed = array(node.get("deps")).filter(|need| is_needed_at_run_time(need));
        let needed = needed.filter_map(|need| packages.get(need.get("pkg")?.as_str()?));
        let needed = needed.map(|package| purl(package)).collect::<Result<BTreeSet<_>>>()?;
        dependencies.push(json!({ "ref": purl(package)?, "dependsOn": needed }));
    }
    let is_root = |package: &&&Value| {
        package.get("name").and_then(Value::as_str).is_some_and(|name| roots.contains(&name))
    };
    let parts: Vec<&Value> = packages.values().filter(is_root).copied().collect();
    let first = parts.first().with_context(|| format!("{name} is made of no crate"))?;
    let refs = parts.iter().map(|package| purl(package)).collect::<Result<Vec<_>>>()?;
    dependencies.push(json!({ "ref": name, "dependsOn": refs }));
    Ok(json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": {
            "type": "application",
            "bom-ref": name,
            "name": name,
            "version": text(first, "version")?,
            "licenses": [{ "expression": license(first)? }],
        } },
        "components": listed,
        "dependencies": dependencies,
    }))
}

/// Returns whether a dependency is one of the program, not only of its tests or its build script.
fn is_needed_at_run_time(dependency: &Value) -> bool {
    array(dependency.get("dep_kinds")).any(|kind| kind.get("kind").is_some_and(Value::is_null))
}

fn component(package: &Value, lock: &Value) -> Result<Value> {
    let (name, version) = (text(package, "name")?, text(package, "version")?);
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package)?,
        "name": name,
        "version": version,
        "purl": purl(package)?,
        "licenses": [{ "expression": license(package)? }],
    });
    let is = |locked: &&Value| {
        locked.get("name").is_some_and(|own| own == name)
            && locked.get("version").is_some_and(|own| own == version)
    };
    let locked = array(lock.get("package")).find(is);
    if let Some(checksum) = locked.and_then(|locked| locked.get("checksum"))
        && let Some(members) = component.as_object_mut()
    {
        let hash = json!([{ "alg": "SHA-256", "content": checksum }]);
        members.insert("hashes".to_owned(), hash);
    }
    Ok(component)
}

/// Returns the address of a package, as such lists write it.
fn purl(package: &Value) -> Result<String> {
    Ok(format!("pkg:cargo/{}@{}", text(package, "name")?, text(package, "version")?))
}

/// Returns a package's license as an expression of SPDX. Old packages write `/` for `OR`.
fn license(package: &Value) -> Result<String> {
    let license = text(package, "license")?;
    let alternatives: Vec<&str> = license.split('/').map(str::trim).collect();
    Ok(alternatives.join(" OR "))
}

fn text<'v>(value: &'v Value, member: &str) -> Result<&'v str> {
    let found = value.get(member).and_then(Value::as_str);
    found.with_context(|| {
        let name = value.get("name").and_then(Value::as_str).unwrap_or_default();
        format!("{name} has no {member}")
    })
}

fn array(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// Everything that is published and contains crates. The other npm packages have no dependencies.
const PRODUCTS: [Product; 3] = [
    Product { name: "portcullis-auth", roots: &["portcullis-auth"], target: LINUX },
    Product {
        name: "portcullis-redis-gateway",
        roots: &["portcullis-redis-gateway"],
        target: LINUX,
    },
    Product {
        name: "portcullis-npm",
        roots: &["portcullis-edge", "portcullis-policy-node"],
        target: "wasm32-unknown-unknown",
    },
];

/// All programs for Linux have the same components.
const LINUX: &str = "x86_64-unknown-linux-gnu";
