//! The standard library for wasm32.

use super::apt::Apt;
use super::probe::{is_in_path, version};
use super::toolchain::{TARGET, has_target};
use crate::tasks::Runner;
use crate::workspace::{at, root};
use anyhow::{Result, bail};
use std::fs;
use std::process::Command;
use std::time::Duration;

/// Adds the library with rustup. If that fails, builds it for Debian's packaged compiler.
pub fn install(runner: &Runner, apt: Option<Apt>) -> Result<()> {
    if is_in_path("rustup") {
        let mut rustup = Command::new("rustup");
        rustup.current_dir(root()).args(["target", "add", TARGET]);
        let added = runner.run_within(RUSTUP_PATIENCE, &mut rustup, &at(".tools/log/rustup.log"));
        if added.is_ok() && has_target("rustc") {
            return Ok(());
        }
        runner.check()?;
        eprintln!("rustup can't add {TARGET}; Debian's packaged compiler takes its place");
    }
    let Some(apt) = apt else {
        bail!("{TARGET}: rustup target add {TARGET}, or on Debian as root: cargo xtask setup");
    };
    apt.install(runner, &PACKAGED)?;
    build_packaged_std(runner)
}

/// Builds std for wasm32 from its source into a separate sysroot. That folder links to the packaged
/// compiler's libraries, and has the new ones next to them.
fn build_packaged_std(runner: &Runner) -> Result<()> {
    let work = at(".tools/std");
    fs::create_dir_all(work.join("src"))?;
    let manifest =
        "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n";
    fs::write(work.join("Cargo.toml"), manifest)?;
    fs::write(work.join("src/lib.rs"), "")?;
    let mut cargo = Command::new("/usr/bin/cargo");
    cargo
        .current_dir(&work)
        .env("PATH", "/usr/bin:/bin")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zforce-unstable-if-unmarked -Cembed-bitcode=yes")
        .env("CARGO_TARGET_DIR", work.join("target"))
        .args(["build", "--release", "-Zbuild-std=std,panic_abort,test", "--target", TARGET]);
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(name);
    }
    runner.run(&mut cargo, &at(".tools/log/std.log"))?;

    let sysroot = at(".tools/rust");
    let _ = fs::remove_dir_all(&sysroot);
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&libraries)?;
    fs::create_dir_all(sysroot.join("bin"))?;
    for file in fs::read_dir(work.join("target").join(TARGET).join("release/deps"))? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libempty-") {
            fs::copy(file.path(), libraries.join(name))?;
        }
    }
    for folder in fs::read_dir("/usr/lib/rustlib")? {
        let folder = folder?;
        let link = sysroot.join("lib/rustlib").join(folder.file_name());
        if !link.exists() {
            std::os::unix::fs::symlink(folder.path(), link)?;
        }
    }
    let rustc = sysroot.join("bin/rustc");
    fs::write(
        &rustc,
        format!("#!/bin/sh\nexec /usr/bin/rustc --sysroot '{}' \"$@\"\n", sysroot.display()),
    )?;
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755))?;
    // This file is written last. It shows that the installation is complete.
    fs::write(sysroot.join("compiler"), version("/usr/bin/rustc").unwrap_or_default())?;
    Ok(())
}

/// The longest time for rustup: the download takes seconds, but without a network rustup retries
/// for long.
const RUSTUP_PATIENCE: Duration = Duration::from_secs(180);

/// Debian's packages of a compiler with the source of its standard library.
const PACKAGED: [&str; 6] =
    ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "rust-web-clippy", "lld-22"];
