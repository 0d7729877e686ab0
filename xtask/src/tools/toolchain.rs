//! The commands of the project's tools, and the compiler for wasm32.

use super::probe::version;
use crate::workspace::{at, root};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The paths of the tools.
#[derive(Default)]
pub struct Tools {
    wasm: OnceLock<WasmToolchain>,
}

/// The compiler that has a standard library for wasm32.
#[derive(Clone, Copy, Eq, PartialEq)]
enum WasmToolchain {
    /// The default toolchain.
    Everyday,
    /// Debian's packaged compiler, with a standard library built in .tools/rust.
    Packaged,
}

impl Tools {
    /// Returns a command of the project's tools.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(root()).env("PATH", search_path(None));
        command
    }

    /// Returns a command that compiles this workspace for wasm32. Finds the compiler on the first
    /// call, so the compiler's library must be installed by then.
    pub fn wasm_command(&self, program: &str) -> Command {
        self.wasm_command_in(root(), program)
    }

    /// Returns a command that compiles a copy of this workspace for wasm32, into the copy's
    /// `target/wasm`. Hides the variables that Cargo set for this process.
    pub fn wasm_command_in(&self, folder: &Path, program: &str) -> Command {
        let wasm = *self.wasm.get_or_init(|| {
            if has_target("rustc") { WasmToolchain::Everyday } else { WasmToolchain::Packaged }
        });
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .env("PATH", search_path(Some(wasm)))
            .env("CARGO_TARGET_DIR", folder.join("target/wasm"))
            .env("CARGO_ENCODED_RUSTFLAGS", without_own_paths(folder));
        for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
            command.env_remove(name);
        }
        if wasm == WasmToolchain::Packaged {
            // clippy-driver does not use this project's rustc wrapper, which knows the place of the
            // library.
            command.env("SYSROOT", at(".tools/rust"));
        }
        command
    }
}

/// Returns the compiler's flags that replace the folders of this machine in the messages of panics,
/// so that equal sources give equal Wasm in every folder.
fn without_own_paths(folder: &Path) -> String {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(Path::new(&home).join(".cargo"))
    });
    let homes = cargo_home.iter().map(|home| (home.as_path(), "/cargo"));
    let flags = homes.chain([(folder, "/portcullis")]);
    let flags = flags.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    flags.collect::<Vec<_>>().join(FLAG_END)
}

/// Returns the search path: the project's tools, preceded by the compiler for wasm32 if it is
/// wanted and not the default one.
fn search_path(wasm: Option<WasmToolchain>) -> OsString {
    let mut folders = vec![at("node_modules/.bin"), at(".tools/bin")];
    if wasm == Some(WasmToolchain::Packaged) {
        folders.insert(0, at(".tools/rust/bin"));
        folders.push(PathBuf::from("/usr/bin"));
    }
    let old = std::env::var_os("PATH").unwrap_or_default();
    folders.extend(std::env::split_paths(&old));
    std::env::join_paths(folders).unwrap_or(old)
}

/// Returns whether a compiler has a standard library for wasm32.
pub fn has_target(rustc: &str) -> bool {
    let output = Command::new(rustc)
        .current_dir(root())
        .args(["--target", TARGET, "--print", "target-libdir"])
        .output();
    output.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && has_libraries(Path::new(&folder))
    })
}

fn has_libraries(folder: &Path) -> bool {
    let mut files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

/// Returns whether the library in .tools/rust was built for the packaged compiler's current
/// version.
pub fn packaged_is_ready() -> bool {
    let stamp = fs::read_to_string(at(".tools/rust/compiler")).ok();
    stamp.is_some() && stamp == version("/usr/bin/rustc")
}

/// Cargo's separator of flags in `CARGO_ENCODED_RUSTFLAGS`.
const FLAG_END: &str = "\u{1f}";

pub const TARGET: &str = "wasm32-unknown-unknown";
