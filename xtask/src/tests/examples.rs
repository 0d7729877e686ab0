//! The folders of examples/: each is complete. The variables of those with a policy satisfy it; the
//! others are APIs.

use crate::at;
use crate::edge::EdgeConfig;
use crate::policy;
use serde_json::{Map, Value};
use std::fs;
use std::path::{Path, PathBuf};

fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(at("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    assert!(folders.len() >= 10, "{folders:?}");
    folders
}

/// Returns the folders that have a policy.
fn gates() -> impl Iterator<Item = PathBuf> {
    folders().into_iter().filter(|folder| folder.join("portcullis.toml").exists())
}

/// Returns the names of the policies of a folder: portcullis.toml, and variants of it.
fn policies(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let is_policy = |name: &String| name.ends_with(".toml") && name != "wrangler.toml";
    let mut names: Vec<String> =
        names.filter_map(|name| name.into_string().ok()).filter(is_policy).collect();
    names.sort();
    names
}

fn text(folder: &Path, name: &str) -> String {
    let file = folder.join(name);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Returns the `[vars]` of a wrangler.toml.
fn variables(folder: &Path) -> Map<String, Value> {
    let wrangler: Value = toml::from_str(&text(folder, "wrangler.toml")).unwrap();
    wrangler["vars"].as_object().cloned().unwrap()
}

/// Returns the variables and secrets of a .dev.vars.example.
fn local_variables(folder: &Path) -> Map<String, Value> {
    let text = text(folder, ".dev.vars.example");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let pair = |line: &str| {
        let (name, value) = line.split_once('=').unwrap();
        let value = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap();
        (name.to_owned(), value.into())
    };
    lines.map(pair).collect()
}

/// With the variables of wrangler.toml, and with those for a machine laid over them, the Worker has
/// no error and no warning. The secrets are those of .dev.vars.example.
#[test]
fn variables_of_each_example_satisfy_its_policy() {
    assert!(gates().count() >= 10);
    for folder in gates() {
        let (deployed, local) = (variables(&folder), local_variables(&folder));
        for name in policies(&folder) {
            let policy = policy::read(&folder.join(&name)).unwrap();
            for first in [&local, &deployed] {
                let mut vars = local.clone();
                vars.extend(deployed.clone());
                vars.extend(first.clone());
                let edge = EdgeConfig { policy: policy.clone(), vars };
                assert_eq!(edge.faults(), [""; 0], "{} {name}", folder.display());
                assert_eq!(edge.warnings(), [""; 0], "{} {name}", folder.display());
            }
        }
        // A secret must not be a variable, and each variable has a local value.
        for name in deployed.keys() {
            assert!(local.contains_key(name), "{}: {name}", folder.display());
        }
    }
}

/// Every variable and secret of an example is used, and its README says how to set the secrets.
#[test]
fn each_variable_of_an_example_is_used() {
    for folder in gates() {
        let policy = text(&folder, "portcullis.toml");
        let readme = text(&folder, "README.md");
        let deployed = variables(&folder);
        for name in local_variables(&folder).keys() {
            let place = format!("{}: {name}", folder.display());
            if deployed.contains_key(name) {
                assert!(policy.contains(&format!("\"${{{name}}}\"")), "{place} is unused");
            } else {
                let command = format!("wrangler secret put {name}");
                assert!(readme.contains(&command), "{place} is not set by the README");
                let is_own = ["STORE_TOKEN", "RECORD_ENCRYPTION_KEY", "EDGE_AUTH_KEY"];
                assert!(is_own.contains(&name.as_str()) || policy.contains(name), "{place}");
            }
        }
    }
}

/// A README that sends a token says how to get one: from the policy's issuer, for its audience.
#[test]
fn each_example_of_a_provider_gets_a_token_of_its_issuer() {
    let mut count = 0;
    for folder in folders() {
        let readme = text(&folder, "README.md");
        let Some((before, _)) = readme.split_once("$TOKEN\"") else {
            continue;
        };
        let commands = before.split_once("## Get a token\n").unwrap_or_default().1;
        let policy = policy::read(&folder.join("portcullis.toml")).unwrap();
        let issuer = &policy["issuers"][0];
        // The first audience of a list is the one of the command. Some providers have none.
        let audience = issuer["audience"][0].as_str().or(issuer["audience"].as_str());
        let has_substitute =
            issuer["audience_claim"] == "iss" || issuer["authorized_parties"].is_array();
        assert!(audience.is_some() || has_substitute, "{}", folder.display());
        let issuer = issuer["issuer"].as_str().unwrap().trim_end_matches('/');
        let audience = audience.unwrap_or(issuer).trim_end_matches('/');
        let place = folder.display();
        assert!(commands.contains("TOKEN=$("), "{place}: no command gets a token");
        // Entra's command names the tenant; Supabase has one audience for all projects.
        let tenant = issuer.trim_end_matches("/v2.0").rsplit('/').next().unwrap();
        assert!(commands.contains(issuer) || commands.contains(tenant), "{place}: {issuer}");
        assert!(
            commands.contains(audience)
                || audience == issuer
                || audience == "authenticated"
                || audience == "api://default",
            "{place}: {audience}"
        );
        count += 1;
    }
    assert!(count >= 19, "{count}");
}

/// Each folder is listed, and its README has commands.
#[test]
fn each_example_is_listed_and_has_commands() {
    let list = fs::read_to_string(at("examples/README.md")).unwrap();
    for folder in folders() {
        let name = folder.file_name().unwrap().to_str().unwrap();
        assert!(list.contains(&format!("[{name}]({name})")), "examples/README.md lacks {name}");
        assert!(text(&folder, "README.md").contains(&format!("cd examples/{name}\n")), "{name}");
    }
}

/// Each folder with a policy builds the Worker with it.
#[test]
fn each_example_is_complete() {
    for folder in gates() {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let schema = "#:schema ../../docs/portcullis.schema.json\n";
        for policy in policies(&folder) {
            assert!(text(&folder, &policy).starts_with(schema), "{name} {policy}");
        }
        let wrangler: Value = toml::from_str(&text(&folder, "wrangler.toml")).unwrap();
        let shipped = crate::wrangler_toml::wrangler_toml().unwrap();
        for member in ["main", "compatibility_date", "compatibility_flags"] {
            assert_eq!(wrangler[member], shipped[member], "{name}: {member}");
        }
        assert_eq!(wrangler["build"]["command"], "cargo xtask worker --project .", "{name}");
    }
}

/// The binder of the workspace binds the example of a Worker in Rust only at its own version.
#[test]
fn rust_example_has_the_wasm_bindgen_of_the_workspace() {
    let version = |lock: &str| {
        let lock: Value = toml::from_str(&fs::read_to_string(at(lock)).unwrap()).unwrap();
        let packages = lock["package"].as_array().unwrap();
        let found = packages.iter().find(|package| package["name"] == "wasm-bindgen");
        found.unwrap()["version"].clone()
    };
    assert_eq!(version("examples/rust-api/Cargo.lock"), version("Cargo.lock"));
}
