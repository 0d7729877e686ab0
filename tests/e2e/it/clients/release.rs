//! A dry run of a release, with the programs and packages that the other tests run.

use crate::support::environment::xtask;
use crate::support::npm_project::{ROOT, both, text};
use crate::support::process::Folder;
use serde_json::Value;
use std::process::Command;

const VERSION: &str = env!("CARGO_PKG_VERSION");

#[test]
fn dry_run_prepares_all_that_a_release_publishes() {
    let output = xtask().args(["release", "--dry-run", "--prebuilt"]).output().unwrap();
    assert!(output.status.success(), "{}", both(&output));
    let printed = text(&output);
    let steps: Vec<&str> = printed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(
        steps,
        ["versions", "changelog", "programs", "npm", "crates", "sbom", "wasm"],
        "{printed}"
    );

    let release = format!("{ROOT}/build/release");
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).current_dir(&release).args(arguments).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", both(&output));
        text(&output)
    };
    let changelog = std::fs::read_to_string(format!("{ROOT}/CHANGELOG.md")).unwrap();
    let notes = std::fs::read_to_string(format!("{release}/notes.md")).unwrap();
    assert!(notes.lines().count() > 2 && changelog.contains(notes.trim()), "{notes}");

    // A stranger checks the archive and runs what is in it.
    let line = printed.lines().find(|line| line.starts_with("programs")).unwrap();
    let archive = line.split([' ', ',']).find(|word| word.ends_with(".tar.gz")).unwrap();
    let archive = archive.rsplit('/').next().unwrap();
    assert!(archive.starts_with(&format!("portcullis-{VERSION}-")), "{archive}");
    run("sha256sum", &["--check", &format!("{archive}.sha256")]);
    let folder = Folder::new();
    run("tar", &["-xzf", archive, "-C", folder.file("").to_str().unwrap()]);
    let programs = folder.file(archive.strip_suffix(".tar.gz").unwrap());
    for program in ["portcullis-auth", "portcullis-redis-gateway"] {
        let path = programs.join(program);
        assert_eq!(run(path.to_str().unwrap(), &["--version"]), format!("{program} {VERSION}\n"));
    }
    assert!(programs.join("LICENSE-MIT").exists() && programs.join("auth.toml").exists());

    for name in ["portcullis", "create-portcullis", "portcullis-client", "portcullis-linux-x64"] {
        let archive = format!("{name}-{VERSION}.tgz");
        run("sha256sum", &["--check", &format!("{archive}.sha256")]);
        let list = run("tar", &["-tzf", &archive]);
        assert!(list.contains("package/LICENSE-APACHE"), "{archive}: {list}");
        // Its names would be fetched from a registry where they may be a stranger's.
        let manifest = run("tar", &["-xzOf", &archive, "package/package.json"]);
        assert!(!manifest.contains("optionalDependencies"), "{manifest}");
    }

    let list = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(format!("{release}/{name}.cdx.json")).unwrap();
        let list: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&list["bomFormat"], &list["specVersion"]),
            (&"CycloneDX".into(), &"1.6".into())
        );
        let components = list["components"].as_array().unwrap();
        components.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    for (name, has, lacks) in [
        ("portcullis-auth", "argon2", "sqlx-mysql"),
        ("portcullis-redis-gateway", "tokio-rustls", "sqlx"),
        ("portcullis-npm", "web-sys", "tokio"),
    ] {
        let components = list(name);
        assert!(components.iter().any(|one| one == has), "{name} lacks {has}");
        // Neither what another product is made of, nor what only tests use.
        for other in [lacks, "proptest"] {
            assert!(!components.iter().any(|one| one == other), "{name} has {other}");
        }
    }
}

#[test]
fn release_is_refused_outside_its_workflow_and_for_another_tag() {
    let refused = xtask().arg("release").env_remove("GITHUB_ACTIONS").output().unwrap();
    assert!(!refused.status.success());
    assert!(both(&refused).contains("add --dry-run"), "{}", both(&refused));

    let tagged = |kind: &str, tag: &str| {
        let mut release = xtask();
        release.args(["release", "--prebuilt", "--only", "versions"]);
        release.env("GITHUB_ACTIONS", "true").env("GITHUB_REF_TYPE", kind);
        release.env("GITHUB_SERVER_URL", "https://github.example");
        release.env("GITHUB_REPOSITORY", "owner/name").env("GITHUB_REF_NAME", tag);
        both(&release.output().unwrap())
    };
    assert!(tagged("branch", "main").contains("add --dry-run"));
    let wrong = tagged("tag", "v99.0.0");
    assert!(wrong.contains("the tag v99.0.0 has 99.0.0"), "{wrong}");
}
