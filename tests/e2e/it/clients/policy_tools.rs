//! The policy tools for Node say what `cargo xtask policy` says.

use crate::support::environment::xtask;
use portcullis_core::merge_sections;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn node(arguments: &[&str], folder: &Path) -> Output {
    let mut node = Command::new(format!("{ROOT}/node_modules/.bin/node"));
    node.arg(format!("{ROOT}/target/policy-tools/portcullis.mjs"));
    node.current_dir(folder).args(arguments).output().unwrap()
}

fn native(arguments: &[&str], folder: &Path) -> Output {
    xtask().arg("policy").args(arguments).current_dir(folder).output().unwrap()
}

/// Writes the shipped policy, which comes first, the examples of policies in the documentation, and
/// those in examples/. An example of some sections is laid over the shipped one.
fn examples(folder: &Path) -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = std::fs::read_dir(format!("{ROOT}/docs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.push(format!("{ROOT}/README.md").into());
    let shipped = std::fs::read_to_string(format!("{ROOT}/portcullis.toml")).unwrap();
    let shipped_sections: Map<String, Value> = toml::from_str(&shipped).unwrap();
    let mut texts = vec![shipped];
    for page in pages {
        for block in blocks(&std::fs::read_to_string(page).unwrap()) {
            let Ok(sections) = toml::from_str::<Map<String, Value>>(&block) else {
                continue;
            };
            // Settings of the servers are in capitals; wrangler's are not the policy's.
            if sections.is_empty() || !sections.keys().all(|name| SECTIONS.contains(&name.as_str()))
            {
                continue;
            }
            let mut whole = shipped_sections.clone();
            merge_sections(&mut whole, &sections);
            texts.push(toml::to_string(&whole).unwrap());
        }
    }
    for entry in std::fs::read_dir(format!("{ROOT}/examples")).unwrap() {
        let file = entry.unwrap().path().join("portcullis.toml");
        texts.extend(std::fs::read_to_string(file));
    }
    let write = |(number, text): (usize, String)| {
        let path = folder.join(format!("example-{number}.toml"));
        std::fs::write(&path, text).unwrap();
        path
    };
    texts.into_iter().enumerate().map(write).collect()
}

/// Returns the indented blocks of a page.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in page.lines() {
        let block = blocks.last_mut().unwrap();
        match line.strip_prefix("    ") {
            Some(code) => block.push_str(&format!("{code}\n")),
            None if line.is_empty() => block.push('\n'),
            None if block.trim().is_empty() => block.clear(),
            None => blocks.push(String::new()),
        }
    }
    blocks
}

const SECTIONS: [&str; 20] = [
    "accept",
    "assertion",
    "auth",
    "breaker",
    "client_address",
    "cors",
    "env",
    "identity",
    "introspection",
    "invalid_token_limit",
    "ip_rules",
    "issuers",
    "jwks",
    "limits",
    "logging",
    "metrics",
    "open_requests",
    "routes",
    "store",
    "upstream",
];

#[test]
fn node_and_xtask_agree_on_every_example() {
    let folder = crate::support::process::Folder::new();
    let folder = &folder.file("");
    std::fs::copy(format!("{ROOT}/wrangler.toml"), folder.join("wrangler.toml")).unwrap();
    std::fs::write(folder.join("claims.json"), r#"{"scope":"admin"}"#).unwrap();
    let examples = examples(folder);
    assert!(examples.len() > 20, "the documentation has {} examples", examples.len());
    for example in &examples {
        let file = example.file_name().unwrap().to_str().unwrap();
        // Node starts slowly with an unoptimised module.
        let mut lines = vec![format!("check {file} --json"), format!("diff {file} example-0.toml")];
        if file == "example-0.toml" {
            lines.push(format!("check {file}"));
            for assume in ["revoked", "no-record", "store-down"] {
                lines.push(format!(
                    "explain GET /api/admin/x --claims claims.json --file {file} --assume {assume}"
                ));
            }
        }
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let (node, native) = (node(&words, folder), native(&words, folder));
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(text(&node.stderr), text(&native.stderr), "{line}");
            // The key of the token's record is one of a new token each second.
            let stable = |bytes: &[u8]| {
                let text = text(bytes);
                let lines = text.lines().filter(|line| !line.contains("store command: GET"));
                lines.collect::<Vec<_>>().join("\n")
            };
            assert_eq!(stable(&node.stdout), stable(&native.stdout), "{line}");
            assert_eq!(node.status.code(), native.status.code(), "{line}");
        }
        // Every example is valid.
        let checked = native(&["check", file], folder);
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert!(checked.status.success(), "{text}");
    }
}

#[test]
fn unknown_file_and_command_are_usage_errors() {
    let folder = crate::support::process::Folder::new();
    for words in [["check", "nowhere.toml"], ["chek", "x"]] {
        let output = node(&words, &folder.file(""));
        assert_eq!(output.status.code(), Some(2));
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}
