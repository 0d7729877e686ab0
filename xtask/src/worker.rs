//! The Worker's bundle: compiled, bound, optimised, and not built again while its sources stay.

use crate::process::{Step, step};
use crate::tools::Tools;
use crate::{at, root};
use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Builds build/index.js and build/index_bg.wasm, if their sources have changed.
pub fn build(tools: &Tools) -> Result<()> {
    let (stamp_file, stamp) = (at("build/.stamp"), sources_hash()?);
    if fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp)
        && at("build/index_bg.wasm").exists()
    {
        return Ok(());
    }
    let _ = fs::remove_file(&stamp_file);
    let mut worker_build = tools.wasm_command("worker-build");
    // wasm-opt is run below, since worker-build's own run keeps the names of functions: a third more.
    worker_build
        .args(["--profile", "worker", "--no-opt"])
        .env("WASM_BINDGEN_BIN", at(".tools/bin/wasm-bindgen"))
        .env("ESBUILD_BIN", at("node_modules/.bin/esbuild"));
    let compile = Step {
        place: 1,
        of: 2,
        name: "the Worker: compile and bind".to_owned(),
        seconds_max: None,
    };
    step(&compile, &mut worker_build, &at("target/log/worker-build.log"))?;

    let (wasm, small) = (at("build/index_bg.wasm"), at("build/index_bg.small.wasm"));
    let mut wasm_opt = tools.command("wasm-opt");
    wasm_opt.args(["-Oz", "--strip-debug", "--strip-producers"]).args(WASM_FEATURES);
    wasm_opt.arg(&wasm).arg("-o").arg(&small);
    let optimise =
        Step { place: 2, of: 2, name: "the Worker: optimise".to_owned(), seconds_max: None };
    step(&optimise, &mut wasm_opt, &at("target/log/wasm-opt.log"))?;
    fs::rename(&small, &wasm)?;
    fs::write(stamp_file, stamp)?;
    Ok(())
}

/// The bundle's size as Cloudflare counts it: each module compressed.
pub fn gzip_bytes() -> Result<usize> {
    let mut sum = 0;
    for name in ["build/index.js", "build/index_bg.wasm"] {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&fs::read(at(name)).with_context(|| format!("{name} is not built"))?)?;
        sum += gzip.finish()?.len();
    }
    Ok(sum)
}

fn sources_hash() -> Result<String> {
    let mut files = BTreeSet::new();
    for folder in ["src", "crates/core/src", "crates/memcached/src", "crates/redis-rest/src"] {
        collect(&at(folder), &mut files)?;
    }
    for file in [
        "Cargo.toml",
        "Cargo.lock",
        "package-lock.json",
        "xtask/src/worker.rs",
        "xtask/src/tools.rs",
        "crates/core/Cargo.toml",
        "crates/memcached/Cargo.toml",
        "crates/redis-rest/Cargo.toml",
    ] {
        files.insert(at(file));
    }
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.strip_prefix(root())?.hash(&mut hasher);
        fs::read(&file)?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn collect(folder: &Path, files: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.insert(path);
        }
    }
    Ok(())
}

/// What rustc emits for wasm32, and the exceptions of wasm-bindgen's wrappers. Named one by one, so that
/// no encoding is used that workerd does not know.
const WASM_FEATURES: [&str; 7] = [
    "--enable-bulk-memory",
    "--enable-exception-handling",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];
