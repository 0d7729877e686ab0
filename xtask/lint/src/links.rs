//! Links of the documentation: each leads to a file, and to a heading that it has. Headings get the
//! anchors of GitHub, which the docs site makes as well.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Returns every link to a file that is missing, or to a heading that its file lacks. `exists` says
/// whether there is a file or folder that is not in `files`.
pub fn violations(files: &[(PathBuf, String)], exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let pages = files.iter().filter(|(file, _)| file.extension().is_some_and(|own| own == "md"));
    let pages: BTreeMap<&Path, &str> =
        pages.map(|(file, text)| (file.as_path(), text.as_str())).collect();
    let mut found = Vec::new();
    for (file, text) in &pages {
        for (line, target) in links(text) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let Some(to) = resolve(file, path) else {
                found.push(format!(
                    "{}:{line}: {target} leads out of the repository",
                    file.display()
                ));
                continue;
            };
            match pages.get(to.as_path()) {
                Some(page) if anchor.is_empty() || has_anchor(page, anchor) => {}
                Some(_) => {
                    found.push(format!("{}:{line}: {target}: no such heading", file.display()));
                }
                None if exists(&to) => {}
                None => found.push(format!("{}:{line}: {target}: no such file", file.display())),
            }
        }
    }
    found
}

/// Returns the relative targets of the links in a page, with their lines. Code is left out.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        for (at, _) in line.match_indices("](") {
            let rest = line.get(at + 2..).unwrap_or_default();
            let target = rest.split(')').next().unwrap_or_default();
            let is_relative = !target.contains("://") && !target.starts_with("mailto:");
            if is_relative && !target.is_empty() && !target.starts_with('/') {
                found.push((number, target));
            }
        }
    }
    found
}

/// Returns the lines that are no code, with their numbers.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut in_fence = false;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        } else if !in_fence && !line.starts_with("    ") {
            lines.push((number + 1, line));
        }
    }
    lines
}

/// Returns the file that a link leads to, or `None` if it is outside of the repository.
fn resolve(from: &Path, path: &str) -> Option<PathBuf> {
    if path.is_empty() {
        return Some(from.to_owned());
    }
    let mut to = from.parent()?.to_owned();
    for part in Path::new(path).components() {
        match part {
            Component::ParentDir if to.as_os_str().is_empty() => return None,
            Component::ParentDir => {
                to.pop();
            }
            Component::Normal(name) => to.push(name),
            _ => {}
        }
    }
    Some(to)
}

fn has_anchor(page: &str, anchor: &str) -> bool {
    let headings = prose(page).into_iter().filter(|(_, line)| line.starts_with('#'));
    headings.into_iter().any(|(_, line)| slug(line.trim_start_matches('#')) == anchor)
}

/// Returns the anchor of a heading: lower case, hyphens for spaces, no punctuation.
fn slug(heading: &str) -> String {
    let shown = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | ' ');
    let text = heading.trim().to_lowercase();
    text.chars().filter(|c| shown(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}
