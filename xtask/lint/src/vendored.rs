//! Files of other projects in the operator console: each is byte for byte its package's, as the
//! digest in `docs/decisions.md` shows.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// The folder of the files.
pub const FOLDER: &str = "crates/auth/console/vendor/";
const PAGE: &str = "docs/decisions.md";

/// Returns each file that the page does not list with its digest, and each digest without a file.
pub fn violations(root: &Path) -> Vec<String> {
    let page = fs::read_to_string(root.join(PAGE)).unwrap_or_default();
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(root.join(FOLDER)).into_iter().flatten().flatten() {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        files.insert(entry.file_name().to_string_lossy().into_owned(), digest(&bytes));
    }
    compare(&listed(&page), &files)
}

fn compare(listed: &BTreeMap<String, String>, files: &BTreeMap<String, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, digest) in files {
        match listed.get(name) {
            Some(expected) if expected == digest => {}
            Some(_) => found.push(format!("{FOLDER}{name}: not the file of its package")),
            None => found.push(format!("{PAGE} lacks the digest of {FOLDER}{name}")),
        }
    }
    for name in listed.keys().filter(|name| !files.contains_key(*name)) {
        found.push(format!("{PAGE}: no file {FOLDER}{name}"));
    }
    found
}

/// Returns the digests of the page by the names of the files: rows of a file, a package and a
/// digest.
fn listed(page: &str) -> BTreeMap<String, String> {
    let rows = page.lines().filter_map(|line| {
        let (start, digest) = line.strip_suffix("` |")?.rsplit_once(" | `")?;
        let (name, _) = start.strip_prefix("| `")?.split_once('`')?;
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| (name.to_owned(), digest.to_owned()))
    });
    rows.collect()
}

fn digest(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_missing_and_unlisted_files_are_found() {
        let row =
            |name: &str, bytes: &[u8]| format!("| `{name}` | p 1.0 | `{}` |\n", digest(bytes));
        let page = row("same.js", b"a") + &row("changed.js", b"b") + &row("gone.js", b"c");
        let files = [("same.js", b"a"), ("changed.js", b"x"), ("new.js", b"d")];
        let files = files.map(|(name, bytes)| (name.to_owned(), digest(bytes)));
        let found = compare(&listed(&page), &files.into());
        let expected = [
            "crates/auth/console/vendor/changed.js: not the file of its package",
            "docs/decisions.md lacks the digest of crates/auth/console/vendor/new.js",
            "docs/decisions.md: no file crates/auth/console/vendor/gone.js",
        ];
        assert_eq!(found, expected);
    }
}
