//! Programs that `cargo install` builds into `.tools/bin`.

use super::probe;
use crate::tasks::Runner;
use crate::workspace::{at, root};
use anyhow::Result;
use std::process::Command;

/// A program and its version.
#[derive(Clone, Copy)]
pub struct CargoTool {
    pub package: &'static str,
    pub program: &'static str,
    pub version: &'static str,
    flags: &'static [&'static str],
}

impl CargoTool {
    /// Returns whether the program is there at its version.
    pub fn is_installed(&self) -> bool {
        probe::is_installed(&at(".tools/bin").join(self.program), self.version)
    }

    /// Builds and installs the program.
    pub fn install(&self, runner: &Runner) -> Result<()> {
        // A mirror of the registry may lack a version that the tool's own lockfile names.
        self.build(runner, &["--locked"]).or_else(|_| self.build(runner, &[]))
    }

    fn build(&self, runner: &Runner, flags: &[&str]) -> Result<()> {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(root())
            .args(["install", "--force", self.package, "--version", self.version])
            .args(self.flags)
            .args(flags)
            .arg("--root")
            .arg(at(".tools"))
            .env("CARGO_TARGET_DIR", at(".tools/build"))
            // With the package's own settings, it takes twice as long to build.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        runner.run(&mut cargo, &at(&format!(".tools/log/{}.log", self.package)))
    }
}

/// The programs that the tests need. The test runner of wasm-bindgen must have the version of the
/// library in Cargo.toml.
pub const TEST_TOOLS: [CargoTool; 2] = [
    CargoTool {
        package: "wasm-bindgen-cli",
        program: "wasm-bindgen-test-runner",
        version: "0.2.130",
        flags: &["--no-default-features"],
    },
    CargoTool { package: "cargo-fuzz", program: "cargo-fuzz", version: "0.13.2", flags: &[] },
];
