//! The programs of this platform: an archive with a checksum, and an npm package.

use super::checksum::write_checksum;
use super::context::{Release, folder, shown};
use super::packages;
use crate::package::{self, LICENSES, copy};
use crate::process::output;
use crate::programs::{PROGRAMS, Profile};
use crate::workspace::at;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Packs the programs with their examples of settings. Each program must state the version.
pub fn build(release: &Release) -> Result<String> {
    let Release { version, profile, .. } = release;
    let name = format!("portcullis-{version}-{}", host()?);
    let stage = at("target/release-stage").join(&name);
    let _ = fs::remove_dir_all(&stage);
    for program in PROGRAMS {
        let staged = stage.join(program);
        copy(&profile.folder().join(program), &staged)?;
        let stated = output(Command::new(&staged).arg("--version"))?;
        if stated.trim() != format!("{program} {version}") {
            bail!("{program} --version says {}, and not {version}", stated.trim());
        }
    }
    for file in LICENSES.iter().chain(&EXAMPLES) {
        let file = at(file);
        copy(&file, &stage.join(file.file_name().unwrap_or_default()))?;
    }
    let archive = pack(&stage, *profile)?;
    let checksum = write_checksum(&archive)?;
    let npm = packages::pack_and_check(release, &package::platform()?)?;
    write_checksum(&npm)?;
    let bytes = fs::metadata(&archive)?.len();
    Ok(format!("{} and {}, {bytes} bytes, SHA-256 {checksum}", shown(&npm), shown(&archive)))
}

/// Packs a folder so that equal files give equal bytes.
fn pack(stage: &Path, profile: Profile) -> Result<PathBuf> {
    let name = stage.file_name().context("a folder without a name")?;
    let archive = folder().join(format!("{}.tar.gz", name.display()));
    // The programs of the tests are large, and are not published.
    let gzip = if profile == Profile::Release { "gzip -9 -n" } else { "gzip -1 -n" };
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--mtime=@0", "--owner=0", "--group=0"]);
    tar.args(["--numeric-owner", "--use-compress-program", gzip, "--file"]).arg(&archive);
    output(tar.arg("--directory").arg(stage.parent().context("no parent")?).arg(name))?;
    Ok(archive)
}

/// Returns the target of the compiler, such as `x86_64-unknown-linux-gnu`.
fn host() -> Result<String> {
    let about = output(Command::new("rustc").arg("-vV"))?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

/// The examples of settings that the programs' `--help` names.
const EXAMPLES: [&str; 3] =
    ["docs/auth.toml", "docs/redis-gateway.toml", "docs/redis-gateway-tokens.toml"];
