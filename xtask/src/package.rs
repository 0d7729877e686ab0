//! The npm packages: the Worker and its commands, `npm create portcullis`, the client for browsers,
//! and the programs that `portcullis dev` runs.

use crate::process::output;
use crate::programs::{self, PROGRAMS, Profile};
use crate::tools::Tools;
use crate::worker;
use crate::workspace::{at, cargo, root};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds the npm packages for a release into build/npm, and packs them. Returns the archives.
pub fn build(tools: &Tools) -> Result<Vec<PathBuf>> {
    worker::build(tools)?;
    programs::build(Profile::Release)?;
    pack_all(tools, Profile::Release)
}

/// Builds the same quickly and unoptimised into target/npm, with the programs as tests run them.
/// Expects the Worker and the programs to be built.
pub fn build_for_tests(tools: &Tools) -> Result<()> {
    pack_all(tools, Profile::Debug).map(drop)
}

/// Assembles every package, and packs each next to its folder. Returns the archives.
fn pack_all(tools: &Tools, profile: Profile) -> Result<Vec<PathBuf>> {
    assemble_all(tools, profile)?;
    let folder = folder(profile);
    names()?.iter().map(|name| pack(tools, &folder.join(name), &folder)).collect()
}

/// Returns the folder in which the packages are assembled.
pub fn folder(profile: Profile) -> PathBuf {
    at(match profile {
        Profile::Debug => "target/npm",
        Profile::Release => "build/npm",
    })
}

/// Assembles every package in a folder of its own. Expects the Worker and the programs to be
/// built.
pub fn assemble_all(tools: &Tools, profile: Profile) -> Result<()> {
    let folder = folder(profile);
    let _ = fs::remove_dir_all(&folder);
    let module = build_policy_tools(tools, profile, root())?;
    assemble(&module, &folder.join(PACKAGE))?;
    copy_tree(&at("packages").join(CREATE), &folder.join(CREATE))?;
    copy_tree(&at("clients/js"), &folder.join(CLIENT))?;
    add_programs(&profile.folder(), &folder.join(platform()?))?;
    for name in names()? {
        for license in LICENSES {
            copy(&at(license), &folder.join(&name).join(license))?;
        }
    }
    Ok(())
}

/// Compiles the policy tools in a copy of this workspace. Returns the module.
pub fn build_policy_tools(tools: &Tools, profile: Profile, folder: &Path) -> Result<PathBuf> {
    let (name, output_folder) = match profile {
        Profile::Debug => ("dev", "debug"),
        Profile::Release => ("worker", "worker"),
    };
    let mut compile = tools.wasm_command_in(folder, "cargo");
    compile.args(["build", "--quiet", "-p", CRATE, "--target", TARGET, "--profile", name]);
    output(&mut compile)?;
    Ok(folder.join("target/wasm").join(TARGET).join(output_folder).join(MODULE))
}

/// Builds the package of the Worker and its commands.
fn assemble(module: &Path, folder: &Path) -> Result<()> {
    let mut binder = cargo();
    binder.args(["build", "--quiet", "-p", "xtask-bind"]);
    output(&mut binder)?;
    copy_tree(&at("packages").join(PACKAGE), folder)?;
    bind_policy_tools(module, &folder.join("policy"))?;
    for (from, to) in [
        ("build/index.js", "worker/index.js"),
        ("build/gate.js", "worker/gate.js"),
        ("build/index_bg.wasm", "worker/index_bg.wasm"),
        ("demo/upstream.mjs", "demo/upstream.mjs"),
        ("docs/portcullis.schema.json", "portcullis.schema.json"),
        ("docs/redis-gateway-tokens.toml", "cli/redis-gateway-tokens.toml"),
    ] {
        copy(&at(from), &folder.join(to))?;
    }
    Ok(())
}

/// Generates the glue of the policy tools for Node.
pub fn bind_policy_tools(module: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut bind = Command::new(at("target/debug/xtask-bind"));
    output(bind.arg("--node").arg(module).arg(folder)).map(drop)
}

/// Builds the package of the programs for this platform, by the example of [`PLATFORM`].
fn add_programs(from: &Path, folder: &Path) -> Result<()> {
    copy_tree(&at("packages").join(PLATFORM), folder)?;
    let (os, cpu) = node_platform()?;
    for file in ["package.json", "README.md"] {
        let path = folder.join(file);
        let text = fs::read_to_string(&path)?;
        let text = text.replace("linux-x64", &format!("{os}-{cpu}"));
        let text = text.replace("[\"linux\"]", &format!("[\"{os}\"]"));
        let text = text.replace("[\"x64\"]", &format!("[\"{cpu}\"]"));
        fs::write(path, text.replace("Linux on x64", &format!("{os} on {cpu}")))?;
    }
    for program in PROGRAMS {
        copy(&from.join(program), &folder.join("bin").join(program))?;
    }
    Ok(())
}

/// Returns this machine's system and processor, as Node names them.
fn node_platform() -> Result<(&'static str, &'static str)> {
    let os = match std::env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        other => bail!("{other} is a platform without a package; build on Linux or macOS"),
    };
    let cpu = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => bail!("{other} is a processor without a package; build on x86_64 or aarch64"),
    };
    Ok((os, cpu))
}

/// Returns the name of the package with this platform's programs.
pub fn platform() -> Result<String> {
    let (os, cpu) = node_platform()?;
    Ok(format!("portcullis-{os}-{cpu}"))
}

/// Returns the names of all packages.
pub fn names() -> Result<Vec<String>> {
    let mut names = [PACKAGE, CREATE, CLIENT].map(str::to_owned).to_vec();
    names.push(platform()?);
    Ok(names)
}

/// Packs a package's folder into an archive.
pub fn pack(tools: &Tools, package: &Path, into: &Path) -> Result<PathBuf> {
    let mut npm = tools.command("npm");
    npm.args(["pack", "--silent", "--pack-destination"]).arg(into).arg(package);
    let archive = output(&mut npm)?;
    Ok(into.join(archive.trim()))
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_tree(&path, &target)?;
        } else {
            copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Copies a file, and makes the folder that it goes to.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("can't copy {}", from.display()))?;
    Ok(())
}

/// The package of the Worker, the library and the commands.
pub const PACKAGE: &str = "portcullis";
/// The package behind `npm create portcullis`.
pub const CREATE: &str = "create-portcullis";
/// The package of clients/js.
pub const CLIENT: &str = "portcullis-client";
/// The package of the programs for one platform, from which those of the others are made.
const PLATFORM: &str = "portcullis-linux-x64";
/// The texts of the licenses, of which the user chooses one.
pub const LICENSES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];
const CRATE: &str = "portcullis-policy-node";
const MODULE: &str = "portcullis_policy_node.wasm";
const TARGET: &str = "wasm32-unknown-unknown";
