//! The golden sets: what programs of earlier versions wrote and sent, kept for the tests of several
//! crates. README.md of this folder says when a new set is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Returns the folders of all sets, the oldest first.
pub fn all() -> Vec<PathBuf> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    let mut numbers: Vec<u32> = entries.filter_map(number).collect();
    numbers.sort_unstable();
    numbers.into_iter().map(|number| folder().join(number.to_string())).collect()
}

/// Reads a file of a set. Returns `None` if the set has none of this name.
pub fn read(set: &Path, name: &str) -> Option<String> {
    fs::read_to_string(set.join(name)).ok()
}

/// Asserts that a file of the newest set is what the current code writes. With `UPDATE_GOLDEN=1` it
/// writes the file instead; into the next set, if the newest was released.
pub fn compare(name: &str, current: &str) {
    let newest = all().pop().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let _one_at_a_time = WRITING.lock();
        let file = writable().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, current).unwrap();
        return;
    }
    let golden = read(&newest, name).unwrap_or_default();
    if golden == current {
        return;
    }
    let differs = |(golden, current): &(&str, &str)| golden != current;
    let first = golden.lines().chain([""]).zip(current.lines().chain([""])).find(differs);
    let (golden, current) = first.unwrap_or(("", "the length"));
    panic!(
        "{} is not what this code writes. Golden: {golden:?}. Now: {current:?}. Read \
         tests/golden/README.md before you write it with UPDATE_GOLDEN=1",
        newest.join(name).display(),
    );
}

/// Returns the set to write: the newest, or a copy of it as its successor if it was released.
fn writable() -> PathBuf {
    let newest = all().pop().unwrap();
    if !newest.join(RELEASED).exists() {
        return newest;
    }
    let number: u32 = newest.file_name().unwrap().to_str().unwrap().parse().unwrap();
    let next = folder().join((number + 1).to_string());
    copy(&newest, &next);
    next
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target);
        } else if entry.file_name() != RELEASED {
            fs::copy(source, target).unwrap();
        }
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// The file that marks a set as released.
const RELEASED: &str = "RELEASED";
static WRITING: Mutex<()> = Mutex::new(());
