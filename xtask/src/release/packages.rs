//! The npm packages: packed, unpacked again, and checked.

use super::checksum::write_checksum;
use super::contents;
use super::context::{Release, folder};
use super::workflow::Workflow;
use crate::package::{self, CLIENT, CREATE, PACKAGE, pack};
use crate::process::output;
use crate::workspace::at;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packs the packages that are the same for all platforms.
pub fn pack_portable(release: &Release) -> Result<String> {
    let mut packed = Vec::new();
    for name in [PACKAGE, CREATE, CLIENT] {
        let archive = pack_and_check(release, name)?;
        write_checksum(&archive)?;
        let (name, bytes) =
            (archive.file_name().unwrap_or_default(), fs::metadata(&archive)?.len());
        packed.push(format!("{} {bytes} bytes", name.display()));
    }
    Ok(format!("{}, checked", packed.join(", ")))
}

/// Packs a package, and checks what its archive contains.
pub fn pack_and_check(release: &Release, name: &str) -> Result<PathBuf> {
    let package = package::folder(release.profile).join(name);
    if let Some(workflow) = &release.workflow {
        complete(&package.join("package.json"), &release.version, workflow)?;
    }
    let archive = pack(&release.tools, &package, &folder())?;
    let unpacked = at("target/release-check").join(name);
    let _ = fs::remove_dir_all(&unpacked);
    fs::create_dir_all(&unpacked)?;
    output(Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&unpacked))?;
    contents::check(&unpacked.join("package"), &release.version)
        .with_context(|| archive.display().to_string())?;
    Ok(archive)
}

/// Adds what only a published package has: the address of the repository, by which npm proves its
/// provenance, and the packages of the platforms, which npm installs where they fit. An archive
/// without it makes npm fetch no names that this project may not own yet.
fn complete(manifest: &Path, version: &str, workflow: &Workflow) -> Result<()> {
    let mut package: Value = serde_json::from_str(&fs::read_to_string(manifest)?)?;
    let is_main = package.get("name").is_some_and(|name| name == PACKAGE);
    let members = package.as_object_mut().context("package.json is not an object")?;
    let url = format!("git+{}.git", workflow.repository);
    members.insert("repository".to_owned(), json!({ "type": "git", "url": url }));
    if is_main {
        let platforms = PLATFORMS.map(|platform| (platform.to_owned(), json!(version)));
        members.insert(
            "optionalDependencies".to_owned(),
            Value::Object(platforms.into_iter().collect()),
        );
    }
    fs::write(manifest, format!("{package:#}\n"))?;
    Ok(())
}

/// The packages that the release workflow builds for platforms: one for each line of its matrix.
pub const PLATFORMS: [&str; 2] = ["portcullis-linux-arm64", "portcullis-linux-x64"];
