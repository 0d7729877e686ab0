//! npm packages, installed from a lockfile.

use crate::tasks::Runner;
use crate::workspace::at;
use anyhow::Result;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// A folder with a `package.json` and its lockfile.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum NpmFolder {
    /// What the tests of the operator console run in a browser.
    Console,
    /// What builds the documentation's site.
    Docs,
    /// What builds and runs the Worker.
    Root,
    /// The packages that the end-to-end tests run, in addition to the Worker's.
    TestClients,
}

impl NpmFolder {
    /// Returns whether the lockfile's packages are installed.
    pub fn is_installed(self) -> bool {
        let lock = fs::read(self.at("package-lock.json")).ok();
        lock.is_some() && lock == fs::read(self.at(INSTALLED)).ok()
    }

    /// Returns the name of the installation.
    pub fn task_name(self) -> &'static str {
        match self {
            Self::Console => "npm install for the tests of the console",
            Self::Docs => "npm install for the docs site",
            Self::Root => "npm install",
            Self::TestClients => "npm install for the tests",
        }
    }

    /// Installs the lockfile's packages.
    pub fn install(self, runner: &Runner) -> Result<()> {
        let mut npm = Command::new("npm");
        // `npm ci` is not used, because it rejects a lockfile that lacks another system's packages,
        // as some registries make it.
        npm.current_dir(self.at("")).args(["install", "--no-save", "--no-fund", "--no-audit"]);
        let log = match self {
            Self::Console => ".tools/log/npm-test-console.log",
            Self::Docs => ".tools/log/npm-docs.log",
            Self::Root => ".tools/log/npm.log",
            Self::TestClients => ".tools/log/npm-test-clients.log",
        };
        runner.run(&mut npm, &at(log))?;
        fs::copy(self.at("package-lock.json"), self.at(INSTALLED))?;
        Ok(())
    }

    fn at(self, path: &str) -> PathBuf {
        match self {
            Self::Console => at("tests/e2e/console").join(path),
            Self::Docs => at("docs").join(path),
            Self::Root => at(path),
            Self::TestClients => at("tests/e2e/clients").join(path),
        }
    }
}

/// A copy of the lockfile, written last. It shows that the installation is complete.
const INSTALLED: &str = "node_modules/.installed-lock.json";
