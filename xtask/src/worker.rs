//! The Worker's bundle: compiled, bound, optimised, and not built again while its sources stay.

use crate::process::{Step, step};
use crate::tools::Tools;
use crate::{at, edge, root};
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
        && edge::BUNDLE.iter().all(|name| at("build").join(name).exists())
    {
        return Ok(());
    }
    let _ = fs::remove_file(&stamp_file);
    let name = |name: &str| format!("the Worker: {name}");
    let progress = |place, what| Step { place, of: 3, name: name(what), seconds_max: None };
    let mut cargo = tools.wasm_command("cargo");
    cargo.args(["build", "--lib", "--target", "wasm32-unknown-unknown", "--profile", "worker"]);
    step(&progress(1, "compile"), &mut cargo, &at("target/log/worker-compile.log"))?;

    // The script that joins both sides, beside those of our own that it imports.
    let joined = at("target/wasm/joined");
    let mut bindgen = tools.command("wasm-bindgen");
    bindgen.args(["--target", "web", "--experimental-reset-state-function"]);
    bindgen.arg("--out-dir").arg(&joined);
    bindgen.arg(at("target/wasm/wasm32-unknown-unknown/worker/portcullis_edge.wasm"));
    step(&progress(2, "bind"), &mut bindgen, &at("target/log/worker-bind.log"))?;
    for script in ["worker.js", "protocol.js", "http.js", "platform.js", "crypto.js"] {
        fs::copy(at("src/js").join(script), joined.join(script))?;
    }
    fs::create_dir_all(at("build"))?;
    // The types that src/js is checked with.
    fs::copy(joined.join("portcullis_edge.d.ts"), at("build/portcullis_edge.d.ts"))?;
    let mut esbuild = tools.command("esbuild");
    esbuild.arg(joined.join("worker.js")).args(["--bundle", "--format=esm", "--minify"]);
    esbuild.args(["--external:./index_bg.wasm", "--external:cloudflare:*"]);
    esbuild.arg(format!("--outfile={}", at("build/index.js").display()));
    crate::bench::output(&mut esbuild)?;

    let (wasm, small) = (joined.join("portcullis_edge_bg.wasm"), at("build/index_bg.wasm"));
    let mut wasm_opt = tools.command("wasm-opt");
    // Once more for the size as it is sent: what was inlined is not repeated, and functions of like names lie side by
    // side, where gzip finds what they share.
    let ordered = joined.join("ordered.wasm");
    wasm_opt.args(["-Oz", "-g", "--reorder-functions-by-name", "--strip-producers"]);
    wasm_opt.args(INLINE_LITTLE).args(WASM_FEATURES).arg(&wasm).arg("-o").arg(&ordered);
    step(&progress(3, "optimise"), &mut wasm_opt, &at("target/log/worker-optimise.log"))?;
    let mut strip = tools.command("wasm-opt");
    strip.args(["--strip-debug"]).args(WASM_FEATURES).arg(&ordered).arg("-o").arg(&small);
    crate::bench::output(&mut strip)?;
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

/// No function goes where it is called for being called just there, which costs bytes once they are compressed.
const INLINE_LITTLE: [&str; 2] =
    ["--one-caller-inline-max-function-size=0", "--always-inline-max-function-size=0"];

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
