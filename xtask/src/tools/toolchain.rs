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

    /// Returns a command that compiles for wasm32. Hides the variables that Cargo set for this
    /// process. Finds the compiler on the first call, so the compiler's library must be installed
    /// by then.
    pub fn wasm_command(&self, program: &str) -> Command {
        let wasm = *self.wasm.get_or_init(|| {
            if has_target("rustc") { WasmToolchain::Everyday } else { WasmToolchain::Packaged }
        });
        let mut command = Command::new(program);
        command
            .current_dir(root())
            .env("PATH", search_path(Some(wasm)))
            .env("CARGO_TARGET_DIR", at("target/wasm"));
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

pub const TARGET: &str = "wasm32-unknown-unknown";
