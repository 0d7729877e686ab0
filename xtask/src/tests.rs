//! The commands and files that the contributor's pages name.

mod examples;

use super::{Arguments, at};
use clap::Parser as _;
use clap::error::ErrorKind;
use std::fs;
use std::path::{Path, PathBuf};

/// Returns every page with commands for contributors, operators or CI.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> =
        ["CONTRIBUTING.md", "README.md", "SECURITY.md", "tests/README.md"].map(at).into();
    for folder in [".github", "docs", "examples"] {
        collect(&at(folder), &mut pages);
    }
    pages
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_page = path.extension().is_some_and(|own| own == "md" || own == "yml");
        match path.is_dir() {
            true if path.ends_with("node_modules") => {}
            true => collect(&path, pages),
            false if is_page => pages.push(path),
            false => {}
        }
    }
}

/// Returns the words of each `cargo xtask` command of a page: from lines of code, and from what is
/// between backticks. A command with a placeholder in capitals is left out.
fn commands(page: &str) -> Vec<Vec<&str>> {
    let mut commands = Vec::new();
    for (start, _) in page.match_indices(PROGRAM) {
        let (before, after) = (&page[..start], &page[start + PROGRAM.len()..]);
        let line = &before[before.rfind('\n').map_or(0, |end| end + 1)..];
        let is_code = line.starts_with("    ") || line.trim_start().starts_with("- run:");
        let end = match (line.ends_with('`'), is_code) {
            (true, _) => after.find('`'),
            (false, true) => after.find(['\n', '#', '&', '>', ';']),
            (false, false) => continue,
        };
        let words: Vec<&str> = after[..end.unwrap_or(after.len())].split_whitespace().collect();
        let is_placeholder = |word: &&str| word.len() > 1 && word.chars().all(char::is_uppercase);
        if !words.iter().any(is_placeholder) && !words.contains(&"N") {
            commands.push(words);
        }
    }
    commands
}

const PROGRAM: &str = "cargo xtask";

#[test]
fn documented_commands_are_accepted() {
    let (mut count, mut rejected) = (0, Vec::new());
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for words in commands(&text) {
            let name = format!("{}: {PROGRAM} {}", page.display(), words.join(" "));
            let parsed = Arguments::try_parse_from(["xtask"].into_iter().chain(words.clone()));
            match parsed.map_err(|error| error.kind()) {
                Ok(_) | Err(ErrorKind::DisplayHelp) => count += 1,
                // The name of the program alone, and an option that others go with.
                Err(_) if words.is_empty() => {}
                Err(ErrorKind::MissingRequiredArgument) => {}
                Err(kind) => rejected.push(format!("{name}: {kind:?}")),
            }
        }
    }
    assert!(rejected.is_empty(), "{}", rejected.join("\n"));
    assert!(count > 40, "only {count} commands were found");
}

/// CONTRIBUTING.md names files between backticks, and links others.
#[test]
fn contributors_files_exist() {
    let page = fs::read_to_string(at("CONTRIBUTING.md")).unwrap();
    let quoted = page.lines().filter(|line| !line.starts_with("    "));
    let quoted = quoted.flat_map(|line| line.split('`').skip(1).step_by(2));
    let linked = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let is_path = |text: &&str| {
        let ends = [".rs", ".lua", ".md", ".toml", ".json", "/"];
        !text.contains(' ') && ends.iter().any(|end| text.ends_with(end))
    };
    let paths: Vec<&str> = quoted.filter(is_path).chain(linked).collect();
    assert!(paths.len() > 25, "{paths:?}");
    // Made by a set-up, or named by their last part within a folder.
    let known = [".tools/", "notes.md", "node_modules/", "tests.rs", "problem.rs", "headers.rs"];
    for path in paths {
        // A link may name a heading.
        let path = path.split('#').next().unwrap_or(path);
        assert!(known.contains(&path) || at(path).exists(), "{path} does not exist");
    }
}
