//! Whether the Wasm depends on the folder that it is built in.

use super::checksum::write_checksum;
use crate::package::{self, copy};
use crate::process::output;
use crate::programs::Profile;
use crate::tools::Tools;
use crate::worker;
use crate::workspace::{at, root};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the Worker and the policy tools in a copy of the sources, and compares the bytes with
/// those of this folder. Expects the Worker to be built.
pub fn check(tools: &Tools) -> Result<String> {
    let copied = at("target/reproduce/a-folder-with-another-name");
    let _ = fs::remove_dir_all(&copied);
    copy_sources(&copied)?;
    worker::build_copy(tools, &copied)?;
    let mut files: Vec<PathBuf> = ["index.js", worker::LIBRARY, "index_bg.wasm"]
        .map(|name| Path::new("build").join(name))
        .into();
    for folder in [root(), copied.as_path()] {
        let module = package::build_policy_tools(tools, Profile::Release, folder)?;
        package::bind_policy_tools(&module, &folder.join("target/policy-tools"))?;
    }
    let names = ["portcullis_policy_node.js", "portcullis_policy_node_bg.wasm"];
    files.extend(names.map(|name| Path::new("target/policy-tools").join(name)));
    let mut hashes = Vec::new();
    for file in &files {
        let (here, there) = (root().join(file), copied.join(file));
        let is_same = fs::read(&here).with_context(|| here.display().to_string())?
            == fs::read(&there).with_context(|| there.display().to_string())?;
        if !is_same {
            bail!("{} differs from {}", here.display(), there.display());
        }
        if file.extension().is_some_and(|ending| ending == "wasm") {
            hashes.push(format!("{} {}", file.display(), write_checksum(&there)?));
        }
    }
    fs::remove_dir_all(&copied)?;
    Ok(format!("the same from another folder: {}", hashes.join(", ")))
}

/// Copies what git knows, with its changes.
fn copy_sources(to: &Path) -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    for name in output(&mut git)?.split('\0').filter(|name| !name.is_empty()) {
        let from = root().join(name);
        // A file may be removed, and its removal not committed.
        if from.is_file() {
            copy(&from, &to.join(name))?;
        }
    }
    Ok(())
}
