//! Crates that are compiled in two versions: each needs a reason.

use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Crates of which two versions are accepted, with the reason for the older one.
const ALLOWED: [(&str, &str); 14] = [
    ("base64", "sqlx 0.9 needs 0.22"),
    ("block-buffer", "digest 0.10, by sqlx 0.9"),
    ("cpufeatures", "sha2 0.10, by sqlx 0.9"),
    ("crypto-common", "digest 0.10, by sqlx 0.9"),
    ("digest", "sqlx 0.9 needs 0.10"),
    ("getrandom", "rouille, of the test runner for wasm32, needs 0.2"),
    ("hashbrown", "hashlink, by sqlx 0.9, needs 0.16"),
    ("rand", "rouille needs 0.8"),
    ("rand_chacha", "rand 0.9, by opentelemetry_sdk 0.33"),
    ("rand_core", "rouille needs 0.6"),
    ("sha2", "sqlx 0.9 needs 0.10"),
    ("shlex", "wasm-bindgen-cli needs 1"),
    ("syn", "tracing-attributes and zeroize_derive need 2"),
    ("untrusted", "aws-lc-rs needs 0.7"),
];

/// Returns every crate that the programs compile twice without a reason, and every reason without a
/// duplicate.
pub fn violations(root: &Path) -> Result<Vec<String>> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root).args(["tree", "--workspace", "--duplicates", "--depth", "0"]);
    cargo.args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let output = cargo.output()?;
    if !output.status.success() {
        bail!("cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(judge(&String::from_utf8(output.stdout)?))
}

fn judge(tree: &str) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(version)) = (words.next(), words.next()) {
            versions.entry(name).or_default().insert(version);
        }
    }
    // One version with two sets of features is also listed.
    versions.retain(|_, versions| versions.len() > 1);
    let unexpected =
        versions.iter().filter(|(name, _)| !ALLOWED.iter().any(|(own, _)| own == *name));
    let mut found: Vec<String> = unexpected
        .map(|(name, versions)| {
            let versions: Vec<&str> = versions.iter().copied().collect();
            format!("{name}: compiled as {}; upgrade, or add the reason", versions.join(" and "))
        })
        .collect();
    let gone = ALLOWED.iter().filter(|(name, _)| !versions.contains_key(name));
    found.extend(gone.map(|(name, _)| format!("{name}: compiled once; drop its exception")));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_version_without_a_reason_is_a_violation() {
        let allowed: String =
            ALLOWED.iter().map(|(name, _)| format!("{name} v1\n{name} v2 (*)\n")).collect();
        assert_eq!(judge(&allowed), Vec::<String>::new());
        assert_eq!(judge(&format!("{allowed}itoa v0.8.0\nitoa v0.9.0\n")).len(), 1);
        assert_eq!(judge(&format!("{allowed}itoa v0.9.0\nitoa v0.9.0 (*)\n")).len(), 0);
        assert_eq!(judge("").len(), ALLOWED.len());
    }
}
