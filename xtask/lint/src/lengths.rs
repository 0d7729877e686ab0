//! File lengths: a reader must be able to take in a source file at once.

use std::path::{Path, PathBuf};

/// The most lines of a source file, as `wc -l` counts them.
const LINES_MAX: usize = 400;

const EXTENSIONS: [&str; 7] = ["js", "lua", "mjs", "mts", "rs", "sql", "ts"];

/// Returns every source file that is too long. Tests may be longer.
pub fn violations(files: &[(PathBuf, String)]) -> Vec<String> {
    let long = files.iter().filter_map(|(file, text)| {
        let lines = text.matches('\n').count();
        let source = file.extension().is_some_and(|own| EXTENSIONS.iter().any(|e| own == *e));
        (source && !is_test(file) && lines > LINES_MAX)
            .then(|| format!("{}: {lines} lines; at most {LINES_MAX}", file.display()))
    });
    long.collect()
}

fn is_test(file: &Path) -> bool {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == "tests.rs" || file.components().any(|part| part.as_os_str() == "tests")
}
