//! A Python virtual environment in `.tools/python`.

use crate::tasks::Runner;
use crate::workspace::at;
use anyhow::Result;
use std::fs;
use std::process::Command;

/// Returns whether the listed packages are installed.
pub fn is_installed() -> bool {
    let list = fs::read(at(LIST)).ok();
    list.is_some() && list == fs::read(at(INSTALLED)).ok()
}

/// Creates the environment and installs the listed packages.
pub fn install(runner: &Runner) -> Result<()> {
    let folder = at(".tools/python");
    let _ = fs::remove_dir_all(&folder);
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "python3 -m venv \"$1\" && \"$1/bin/pip\" install --no-input -r \"$2\"",
        "python",
    ]);
    shell.arg(&folder).arg(at(LIST));
    runner.run(&mut shell, &at(".tools/log/python.log"))?;
    fs::copy(at(LIST), at(INSTALLED))?;
    Ok(())
}

const LIST: &str = "tests/e2e/clients/requirements.txt";

/// A copy of the list, written last. It shows that the installation is complete.
const INSTALLED: &str = ".tools/python/installed.txt";
