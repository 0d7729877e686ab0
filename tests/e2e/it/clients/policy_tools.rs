//! The policy tools for Node have the same output as `cargo xtask policy`.

use crate::support::environment::xtask;
use crate::support::issuer::AUDIENCE;
use crate::support::signer::{Key, SECRET_ISSUER, SIGNING_ISSUER, Signer};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::merge_sections;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn node(arguments: &[&str], folder: &Path) -> Output {
    let mut node = Command::new(format!("{ROOT}/node_modules/.bin/node"));
    node.arg(format!("{ROOT}/target/npm/portcullis/portcullis.mjs"));
    node.current_dir(folder).args(arguments).output().unwrap()
}

fn native(arguments: &[&str], folder: &Path) -> Output {
    xtask().arg("policy").args(arguments).current_dir(folder).output().unwrap()
}

/// Writes the shipped policy, which comes first, the examples of policies in the documentation, and
/// those in examples/. An example of some sections is laid over the shipped one.
fn examples(folder: &Path) -> Vec<PathBuf> {
    let mut pages = pages(Path::new(&format!("{ROOT}/docs")));
    pages.push(format!("{ROOT}/README.md").into());
    let shipped = std::fs::read_to_string(format!("{ROOT}/portcullis.toml")).unwrap();
    let shipped_sections: Map<String, Value> = toml::from_str(&shipped).unwrap();
    let schema = std::fs::read_to_string(format!("{ROOT}/docs/portcullis.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&schema).unwrap();
    let known = schema["properties"].as_object().unwrap();
    let mut texts = vec![shipped];
    for page in pages {
        for block in blocks(&std::fs::read_to_string(page).unwrap()) {
            let Ok(sections) = toml::from_str::<Map<String, Value>>(&block) else {
                continue;
            };
            // Files of the servers and of wrangler have other sections as well.
            let is_of_wrangler = sections
                .get("routes")
                .and_then(Value::as_array)
                .is_some_and(|routes| routes.iter().any(|route| route.get("pattern").is_some()));
            let is_policy = sections.keys().all(|name| known.contains_key(name)) && !is_of_wrangler;
            if sections.is_empty() || !is_policy {
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

/// Returns the pages of a folder and of those below it, except packages.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_ours = |path: &&PathBuf| !path.ends_with("node_modules");
    let below = folders.iter().filter(is_ours).flat_map(|folder| pages(folder));
    let is_page = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    files.iter().filter(|path| is_page(path)).cloned().chain(below).collect()
}

/// Returns the indented blocks of a page, and its fenced blocks of TOML.
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
    let fenced = page.split("\n```toml\n").skip(1).filter_map(|rest| rest.split("\n```").next());
    blocks.into_iter().chain(fenced.map(str::to_owned)).collect()
}

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
                let lines = text.lines().filter(|line| !line.contains("pc:token:"));
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

/// `explain --jwks` refuses with the code of the edge, which `security::algorithms` names.
#[test]
fn signature_of_each_algorithm_is_checked_with_a_key_set() {
    let signers = Signer::all();
    let algorithms = |secret: bool| -> Vec<&str> {
        let of = |signer: &&Signer| matches!(signer.key, Key::Hmac(..)) == secret;
        signers.iter().filter(of).map(|signer| signer.algorithm).collect()
    };
    let policy = json!({
        "store": { "url": "https://store.example" },
        "upstream": { "url": "https://upstream.example" },
        "issuers": [
            { "issuer": SIGNING_ISSUER, "audience": AUDIENCE, "algorithms": algorithms(false),
                "jwks_url": "https://all.example/jwks" },
            { "issuer": SECRET_ISSUER, "audience": AUDIENCE, "algorithms": algorithms(true),
                "jwks_variable": "KEYS" },
        ],
        "routes": [{ "name": "api", "path": "/*", "access": "protected" }],
    });
    let folder = crate::support::process::Folder::new();
    let keys: Vec<Value> = signers.iter().map(Signer::jwk).collect();
    // An issuer's keys are those of its algorithms; the others of the file are left out.
    std::fs::write(folder.file("keys.json"), json!({ "keys": keys }).to_string()).unwrap();
    std::fs::write(folder.file("portcullis.toml"), toml::to_string(&policy).unwrap()).unwrap();
    let explain = |token: &str, expect: &str, in_node: bool| {
        let words = ["explain", "GET", "/x", "--token", token, "--jwks", "keys.json"];
        let native = native(&words, &folder.file(""));
        let text = String::from_utf8_lossy(&native.stdout).into_owned();
        let errors = String::from_utf8_lossy(&native.stderr).into_owned();
        assert!(text.contains(expect), "{expect}: {text}{errors}");
        assert!(text.contains("signature: checked with keys.json: "), "{text}");
        assert!(!text.contains("the signature is good"), "{text}");
        if in_node {
            let node = node(&words, &folder.file(""));
            assert_eq!(String::from_utf8_lossy(&node.stdout), text);
            assert_eq!(node.status.code(), native.status.code());
        }
    };
    for signer in &signers {
        let (alg, issuer) = (signer.algorithm, signer.issuer());
        let good = signer.token(alg, alg, issuer);
        explain(&good, "forwarded to the upstream", true);
        let (input, signature) = good.rsplit_once('.').unwrap();
        let mut damaged = URL_SAFE_NO_PAD.decode(signature).unwrap();
        damaged[5] ^= 1;
        let damaged = format!("{input}.{}", URL_SAFE_NO_PAD.encode(&damaged));
        explain(&damaged, "refused: 401 signature_invalid", ["ES512", "HS256"].contains(&alg));
        let short = format!("{input}.{}", URL_SAFE_NO_PAD.encode([7; 5]));
        explain(&short, "refused: 401 signature_invalid", alg == "PS256");
    }
    let [first, second] = [&signers[0], &signers[1]];
    let lied = first.token(second.algorithm, first.algorithm, SIGNING_ISSUER);
    explain(&lied, "refused: 401 algorithm_refused", true);
    let foreign = first.token(first.algorithm, "no such key", SIGNING_ISSUER);
    explain(&foreign, "refused: 401 key_unknown", true);
}
