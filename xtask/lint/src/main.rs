//! Checks of the source tree. Prints each violation with its files, and fails if there is any.

mod documented;
mod duplicates;
mod imports;
mod layers;
mod lengths;
mod links;
mod module;
mod names;
mod prose;
#[cfg(test)]
mod tests;
mod vendored;

use anyhow::{Context as _, Result, bail};
use layers::Layers;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// A crate whose imports are checked.
struct Crate {
    source: &'static str,
    roots: &'static [&'static str],
    layers: Option<&'static str>,
}

const CRATES: [Crate; 11] = [
    Crate {
        source: "crates/core/src",
        roots: &["lib.rs"],
        layers: Some(include_str!("../layers/core.txt")),
    },
    Crate { source: "src", roots: &["lib.rs"], layers: Some(include_str!("../layers/edge.txt")) },
    Crate { source: "bench/src", roots: &["lib.rs", "main.rs"], layers: None },
    Crate { source: "crates/auth/src", roots: &["lib.rs", "main.rs"], layers: None },
    Crate { source: "crates/memcached/src", roots: &["lib.rs"], layers: None },
    Crate { source: "crates/redis-gateway/src", roots: &["lib.rs", "main.rs"], layers: None },
    Crate { source: "crates/redis-rest/src", roots: &["lib.rs"], layers: None },
    Crate { source: "crates/server/src", roots: &["lib.rs"], layers: None },
    Crate { source: "crates/setting-names/src", roots: &["lib.rs"], layers: None },
    Crate { source: "tests/e2e/it", roots: &["main.rs"], layers: None },
    Crate { source: "xtask/src", roots: &["main.rs"], layers: None },
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = fs::canonicalize(&root).with_context(|| root.display().to_string())?;
    let mut violations = Vec::new();
    for described in &CRATES {
        let source = root.join(described.source);
        let roots: Vec<&str> =
            described.roots.iter().copied().filter(|file| source.join(file).exists()).collect();
        let imports = imports::read(&source, &roots).with_context(|| described.source)?;
        for cycle in imports::cycles(&imports) {
            for (from, to, name) in cycle {
                violations.push(format!(
                    "{}: import cycle: {} imports {name} from {}",
                    described.source,
                    from.display(),
                    to.display()
                ));
            }
        }
        if let Some(layers) = described.layers {
            let broken = Layers::parse(layers).violations(&imports)?;
            violations.extend(broken.iter().map(|line| format!("{}: {line}", described.source)));
        }
    }
    let pages = tracked_files(&root)?;
    let count = pages.len();
    violations.extend(prose::violations(&pages));
    violations.extend(links::violations(&pages, |path| root.join(path).exists()));
    violations.extend(lengths::violations(&pages));
    let (_, files): (Vec<_>, Vec<_>) = pages.into_iter().partition(|(file, _)| is_history(file));
    violations.extend(names::violations(&files));
    violations.extend(documented::violations(&files));
    violations.extend(duplicates::violations(&root)?);
    violations.extend(vendored::violations(&root));
    if violations.is_empty() {
        println!("{} crates and {count} files: no violation", CRATES.len());
        return Ok(());
    }
    bail!("{} violations:\n  {}", violations.len(), violations.join("\n  "));
}

/// Returns the text files that git tracks, without those of others.
fn tracked_files(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let output = Command::new("git").current_dir(root).args(["ls-files", "-z"]).output()?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8(output.stdout)?;
    let mut files = Vec::new();
    for name in
        names.split('\0').filter(|name| !name.is_empty() && !name.starts_with(vendored::FOLDER))
    {
        let Ok(bytes) = fs::read(root.join(name)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push((PathBuf::from(name), text));
        }
    }
    Ok(files)
}

/// Returns whether a file may contain retired names.
fn is_history(file: &Path) -> bool {
    let locks = ["CHANGELOG.md", "Cargo.lock", "fuzz/Cargo.lock", "package-lock.json"];
    locks.iter().any(|name| file == Path::new(name)) || file.starts_with("xtask/lint")
}
