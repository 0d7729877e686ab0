//! Tests of a release's checks: each finds what it is there to find.

use super::changelog::{Section, next};
use super::contents::{check, fault_of_content, fault_of_name};
use super::packages::PLATFORMS;
use super::sbom::{list, names};
use super::versions::{agree, check_golden, of_archives, of_crates, of_package};
use crate::workspace::at;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const RELEASED: &str = "# Changelog\n\n## [0.2.0] - 2026-11-29\n\n### Added\n\n- Two.\n\n\
                        ## 0.1.0 - 2026-10-01\n\n- One.\n";

#[test]
fn next_section_is_the_unreleased_or_the_newest_one() {
    let unreleased = RELEASED.replace("## [0.2.0] - 2026-11-29", "## Unreleased");
    let section = Section { name: "Unreleased".to_owned(), body: "### Added\n\n- Two." };
    assert_eq!(next(&unreleased, "0.2.0", false).unwrap(), section);
    let section = Section { name: "0.2.0 - 2026-11-29".to_owned(), ..section };
    assert_eq!(next(RELEASED, "0.2.0", true).unwrap(), section);
    // An empty section of what comes next does not count.
    let empty = RELEASED.replace("# Changelog\n", "# Changelog\n\n## Unreleased\n");
    assert_eq!(next(&empty, "0.2.0", true).unwrap(), section);

    for (text, version, is_tagged, error) in [
        (unreleased.as_str(), "0.2.0", true, "name their section `## 0.2.0 - "),
        (&unreleased, "0.1.0", false, "0.1.0 is released"),
        (RELEASED, "0.3.0", false, "and not 0.3.0"),
        (&RELEASED.replace(" - 2026-11-29", ""), "0.2.0", true, "lacks its day"),
        ("# Changelog\n", "0.1.0", false, "no section"),
    ] {
        let found = next(text, version, is_tagged).unwrap_err().to_string();
        assert!(found.contains(error), "{found}");
    }
}

#[test]
fn version_that_differs_is_found_in_each_place() {
    let manifest = "[workspace.dependencies]\na = { path = \"a\", version = \"0.1.0\" }\n\
                    b = { path = \"b\" }\nserde = \"1\"\n";
    let mut stated = of_crates(manifest).unwrap();
    let package = r#"{ "version": "0.1.0", "dependencies": { "portcullis": "0.1.0" } }"#;
    stated.extend(of_package("package.json", package).unwrap());
    stated.extend(of_archives("page", "npm install ../portcullis-linux-x64-0.1.0.tgz, x.tgz"));
    assert_eq!(stated.len(), 4);
    agree("0.1.0", &stated).unwrap();
    for changed in 0..stated.len() {
        let mut stated = of_crates(manifest).unwrap();
        stated.extend(of_package("package.json", package).unwrap());
        stated.extend(of_archives("page", "../portcullis-linux-x64-0.1.0.tgz"));
        stated[changed].version = "0.1.1".to_owned();
        let error = agree("0.1.0", &stated).unwrap_err().to_string();
        assert!(error.contains(&format!("{} has 0.1.1", stated[changed].place)), "{error}");
    }
    assert!(of_package("package.json", "{}").is_err());
}

#[test]
fn package_with_a_wrong_file_is_rejected() {
    for name in ["cli/init.mjs", "LICENSE-MIT", "worker/index_bg.wasm", "latest.json"] {
        assert_eq!(fault_of_name(Path::new(name)), None, "{name}");
    }
    for name in [
        "test/a.mjs",
        "cli/init.test.mjs",
        ".dev.vars",
        "cli/.npmrc",
        "key.pem",
        "auth.db",
        "npm.log",
    ] {
        assert!(fault_of_name(Path::new(name)).is_some(), "{name}");
    }
    assert_eq!(fault_of_content(b"/rustc/1.95/library/core"), None);
    let own = format!("at {}", at("src/lib.rs").display());
    let key = "-----BEGIN PRIVATE KEY-----\nMC4CAQ";
    for content in [own.as_str(), key] {
        assert!(fault_of_content(content.as_bytes()).is_some(), "{content}");
    }
}

#[test]
fn package_that_lacks_what_it_names_is_rejected() {
    let folder = at("target/test-contents").join(std::process::id().to_string());
    fs::create_dir_all(&folder).unwrap();
    let manifest = json!({
        "name": "p", "version": "0.1.0", "description": "d", "license": "MIT", "files": ["a.js"],
        "bin": { "p": "a.js" }, "exports": { ".": { "types": "./a.d.ts", "default": "./a.js" } },
    });
    let files = ["LICENSE-APACHE", "LICENSE-MIT", "README.md", "a.js", "a.d.ts"];
    let write = |manifest: &Value| {
        fs::write(folder.join("package.json"), manifest.to_string()).unwrap();
        for name in files {
            fs::write(folder.join(name), "text").unwrap();
        }
    };
    write(&manifest);
    check(&folder, "0.1.0").unwrap();
    for name in files {
        write(&manifest);
        fs::remove_file(folder.join(name)).unwrap();
        let error = check(&folder, "0.1.0").unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("missing"), "{error}");
    }
    for member in ["description", "license", "version"] {
        let mut lacking = manifest.clone();
        lacking.as_object_mut().unwrap().remove(member);
        write(&lacking);
        let error = check(&folder, "0.1.0").unwrap_err().to_string();
        assert!(error.contains(member), "{error}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn list_of_components_has_what_is_compiled_and_what_it_needs() {
    let package = |name: &str| {
        json!({ "id": format!("id {name}"), "name": name, "version": "1.0.0",
            "license": "MIT/Apache-2.0" })
    };
    let need = |name: &str, kind: Value| json!({ "pkg": format!("id {name}"), "dep_kinds": [{ "kind": kind }] });
    let (run, test) = (Value::Null, json!("dev"));
    let packages = ["program", "library", "shared", "derive"].map(package);
    let metadata = json!({
        "packages": packages,
        "resolve": { "nodes": [
            { "id": "id program", "deps": [need("library", run.clone()), need("shared", test)] },
            { "id": "id library", "deps": [need("shared", run.clone()), need("derive", run)] },
            { "id": "id shared", "deps": [] },
            { "id": "id derive", "deps": [] },
        ] },
    });
    let lock = json!({ "package": [
        { "name": "library", "version": "0.9.0", "checksum": "0" },
        { "name": "library", "version": "1.0.0", "checksum": "c0ffee" },
    ] });
    let crates = names("program v1.0.0 (/a)\nlibrary v1.0.0\nshared v1.0.0\nlibrary v1.0.0 (*)\n");
    let list = list(&metadata, &crates, &lock, ("product", &["program"])).unwrap();
    let components = list["components"].as_array().unwrap();
    let names: Vec<&Value> = components.iter().map(|component| &component["name"]).collect();
    assert_eq!(names, ["library", "program", "shared"]);
    assert_eq!(components[0]["hashes"][0]["content"], "c0ffee");
    assert_eq!(components[0]["licenses"][0]["expression"], "MIT OR Apache-2.0");
    let needs = json!([
        { "ref": "pkg:cargo/program@1.0.0", "dependsOn": ["pkg:cargo/library@1.0.0"] },
        { "ref": "pkg:cargo/library@1.0.0", "dependsOn": ["pkg:cargo/shared@1.0.0"] },
        { "ref": "pkg:cargo/shared@1.0.0", "dependsOn": [] },
        { "ref": "product", "dependsOn": ["pkg:cargo/program@1.0.0"] },
    ]);
    assert_eq!(list["dependencies"], needs);
}

/// The published package names a package for each platform that the workflow builds.
#[test]
fn workflow_builds_each_platform_that_the_package_names() {
    let workflow = fs::read_to_string(at(".github/workflows/release.yml")).unwrap();
    let lines: Vec<&str> =
        workflow.lines().filter_map(|line| line.trim().strip_prefix("- platform: ")).collect();
    let built: Vec<String> = lines.iter().map(|name| format!("portcullis-{name}")).collect();
    assert_eq!(built, PLATFORMS);
}

#[test]
fn golden_set_must_be_frozen_for_a_release() {
    let folder = at("target/release-golden-test");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(folder.join("9")).unwrap();
    fs::create_dir_all(folder.join("10")).unwrap();
    fs::write(folder.join("9/RELEASED"), "").unwrap();
    let error = check_golden(&folder).unwrap_err().to_string();
    assert!(error.contains("tests/golden/10/RELEASED"), "{error}");
    fs::write(folder.join("10/RELEASED"), "").unwrap();
    check_golden(&folder).unwrap();
}
