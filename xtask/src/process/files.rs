//! Files that other processes read: private files, atomically written files, and logs.

use anyhow::{Context as _, Result};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Writes a file that only its owner may read.
pub fn write_private(file: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut handle = options.write(true).create(true).truncate(true).mode(0o600).open(file)?;
    handle.write_all(text.as_bytes())?;
    Ok(())
}

/// Writes a private file atomically: a reader sees all of it or nothing.
pub fn write_atomically(file: &Path, text: &str) -> Result<()> {
    let mut draft = file.as_os_str().to_owned();
    draft.push(format!(".{}.tmp", std::process::id()));
    let draft = PathBuf::from(draft);
    write_private(&draft, text)?;
    fs::rename(&draft, file).with_context(|| format!("can't write {}", file.display()))
}

/// Creates a log and its folder.
pub fn open_log(log: &Path) -> Result<File> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    File::create(log).with_context(|| format!("can't write {}", log.display()))
}

/// Returns the name of a log and its last lines.
pub fn end_of_log(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LOG_END_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LOG_END_LINES)..).unwrap_or_default();
    let last: String = last.iter().map(|line| format!("  | {line}\n")).collect();
    format!("the end of {}:\n{last}", log.display())
}

/// The bytes that the last lines of any log fit into.
const LOG_END_BYTES: u64 = 8192;

/// The number of lines that fit on a screen together with the error.
const LOG_END_LINES: usize = 25;
