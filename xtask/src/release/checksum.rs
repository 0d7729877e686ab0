//! Checksums of a release's files.

use crate::process::output;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Writes the file that `sha256sum --check` reads, next to a file. Returns the checksum.
pub fn write_checksum(file: &Path) -> Result<String> {
    let name = file.file_name().context("a file without a name")?.to_string_lossy();
    let mut sum = Command::new("sha256sum");
    let line = output(sum.current_dir(file.parent().context("no parent")?).arg(name.as_ref()))?;
    fs::write(file.with_file_name(format!("{name}.sha256")), &line)?;
    Ok(line.split(' ').next().unwrap_or_default().to_owned())
}
