//! The Worker's bundle: compiled, bound, bundled and optimised. It is rebuilt only if its sources
//! have changed.

use crate::edge;
use crate::policy;
use crate::process::output;
use crate::tasks::{Runner, TaskId, Tasks};
use crate::tools::{Extent, Installed, Setup, Tools};
use crate::workspace::{at, cargo, root};
use anyhow::{Context as _, Result};
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeSet;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds build/index.js and build/index_bg.wasm, if their sources have changed.
pub fn build(tools: &Tools) -> Result<()> {
    let mut tasks = Tasks::default();
    add(&mut tasks, tools, &Installed::default())?;
    tasks.run()
}

/// The options of `cargo xtask worker`.
#[derive(Args)]
pub struct Options {
    /// A folder with its own portcullis.toml and wrangler.toml. The Worker is written to its
    /// build/.
    #[arg(long)]
    project: Option<PathBuf>,
}

/// Installs what the build needs, and builds, in parallel where possible.
pub fn prepare(options: &Options) -> Result<()> {
    // An invalid policy is reported before the rest of the work.
    policy::build(options.project.as_deref().unwrap_or(root()))?;
    let tools = Tools::default();
    let mut tasks = Tasks::default();
    let installed = Setup::find(Extent::Worker)?.add(&mut tasks);
    add(&mut tasks, &tools, &installed)?;
    tasks.run()?;
    if let Some(project) = &options.project {
        for name in edge::BUNDLE {
            fs::copy(at("build").join(name), project.join("build").join(name))?;
        }
    }
    Ok(())
}

/// Adds the tasks of the build, if the sources have changed. Returns the task after which Cargo may
/// build into `target/` again.
pub fn add<'a>(
    tasks: &mut Tasks<'a>,
    tools: &'a Tools,
    installed: &Installed,
) -> Result<Option<TaskId>> {
    policy::build(root())?;
    let (stamp_file, stamp) = (at("build/.stamp"), sources_hash()?);
    if fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp)
        && edge::BUNDLE.iter().chain(&[LIBRARY]).all(|name| at("build").join(name).exists())
        && at(GLUE).join("portcullis_edge.d.ts").exists()
    {
        return Ok(None);
    }
    let _ = fs::remove_file(&stamp_file);
    let ids = |ids: &[Option<TaskId>]| -> Vec<TaskId> { ids.iter().flatten().copied().collect() };
    let binder = tasks.add("Worker: build the binder", &ids(&[installed.compiler]), build_binder);
    let compiled = tasks.add(
        "Worker: compile",
        &ids(&[installed.compiler, installed.wasm_target]),
        |runner| compile(runner, tools, root()),
    );
    let bound = tasks.add("Worker: bind", &[binder, compiled], |runner| bind(runner, root()));
    let after = ids(&[Some(bound), installed.npm]);
    tasks.add("Worker: optimise", &after, move |runner| {
        bundle(tools, root())?;
        optimise(runner, tools, root())?;
        fs::write(stamp_file, stamp)?;
        Ok(())
    });
    Ok(Some(binder))
}

/// Builds a copy of this workspace in another folder, with this workspace's tools, which must be
/// built.
pub fn build_copy(tools: &Tools, folder: &Path) -> Result<()> {
    let mut tasks = Tasks::default();
    tasks.add("Worker: build a copy", &[], |runner| {
        compile(runner, tools, folder)?;
        bind(runner, folder)?;
        bundle(tools, folder)?;
        optimise(runner, tools, folder)
    });
    tasks.run()
}

/// Builds the program that generates the glue.
fn build_binder(runner: &Runner) -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["build", "-p", "xtask-bind"]);
    runner.run(&mut cargo, &at("target/log/worker-binder.log"))
}

fn compile(runner: &Runner, tools: &Tools, folder: &Path) -> Result<()> {
    let mut cargo = tools.wasm_command_in(folder, "cargo");
    cargo.args(["build", "--lib", "--target", "wasm32-unknown-unknown", "--profile", "worker"]);
    runner.run(&mut cargo, &at("target/log/worker-compile.log"))
}

/// Generates the glue between Wasm and JavaScript, next to this project's scripts that import it.
fn bind(runner: &Runner, folder: &Path) -> Result<()> {
    let mut bind = Command::new(at("target/debug/xtask-bind"));
    bind.arg(folder.join("target/wasm/wasm32-unknown-unknown/worker/portcullis_edge.wasm"));
    bind.arg(folder.join(GLUE));
    runner.run(&mut bind, &at("target/log/worker-bind.log"))?;
    let glue = folder.join(GLUE).join("portcullis_edge.js");
    fs::write(&glue, without_repeated_imports(&fs::read_to_string(&glue)?))?;
    for file in fs::read_dir(folder.join(SCRIPTS))? {
        let path = file?.path();
        if let (Some("js"), Some(name)) =
            (path.extension().and_then(|e| e.to_str()), path.file_name())
        {
            fs::copy(&path, folder.join(GLUE).join(name))?;
        }
    }
    Ok(())
}

/// Returns the glue without repeated keys in its object of imports. wasm-bindgen writes a key for
/// each block that imports from a module, and bundlers warn of all but the first.
fn without_repeated_imports(glue: &str) -> String {
    let mut keys = BTreeSet::new();
    let is_new = |line: &&str| match line.trim_start().split_once("\": import") {
        Some((key, _)) => keys.insert(key.to_owned()),
        None => true,
    };
    glue.split_inclusive('\n').filter(is_new).collect()
}

/// Bundles our scripts and the glue: once as a Worker, and once as a library for Workers.
fn bundle(tools: &Tools, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("build"))?;
    for (entry, target) in [("worker.js", "index.js"), ("gate.js", LIBRARY)] {
        let mut esbuild = tools.command("esbuild");
        esbuild.arg(folder.join(GLUE).join(entry)).args(["--bundle", "--format=esm", "--minify"]);
        esbuild.args([
            "--external:./index_bg.wasm",
            "--external:./policy.js",
            "--external:cloudflare:*",
        ]);
        esbuild.arg(format!("--outfile={}", folder.join("build").join(target).display()));
        output(&mut esbuild)?;
    }
    Ok(())
}

/// Optimises the module for its compressed size, because it is sent compressed.
fn optimise(runner: &Runner, tools: &Tools, folder: &Path) -> Result<()> {
    let glue = folder.join(GLUE);
    let (bound, ordered) = (glue.join("portcullis_edge_bg.wasm"), glue.join("ordered.wasm"));
    // Functions with similar names are placed next to each other, where gzip finds common parts.
    let mut wasm_opt = tools.command("wasm-opt");
    // The second pass takes 200 bytes off.
    wasm_opt.args(["-Oz", "-Oz", LOW_MEMORY_UNUSED, "-g", "--reorder-functions-by-name"]);
    wasm_opt.arg("--strip-producers");
    wasm_opt.args(INLINE_LITTLE).args(WASM_FEATURES).arg(&bound).arg("-o").arg(&ordered);
    runner.run(&mut wasm_opt, &at("target/log/worker-optimise.log"))?;
    // The names are no longer needed.
    let mut strip = tools.command("wasm-opt");
    strip.args(["--strip-debug"]).args(WASM_FEATURES).arg(&ordered);
    strip.arg("-o").arg(folder.join("build/index_bg.wasm"));
    runner.run(&mut strip, &at("target/log/worker-strip.log"))
}

/// Returns the bundle's size as Cloudflare counts it: each module compressed.
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
    for folder in [
        "src",
        "crates/core/src",
        "crates/memcached/src",
        "crates/redis-rest/src",
        "crates/setting-names/src",
    ] {
        collect(&at(folder), &mut files)?;
    }
    for file in [
        "Cargo.toml",
        "Cargo.lock",
        "package-lock.json",
        "xtask/bind/src/main.rs",
        "xtask/src/tools/toolchain.rs",
        "xtask/src/worker.rs",
        "crates/core/Cargo.toml",
        "crates/memcached/Cargo.toml",
        "crates/redis-rest/Cargo.toml",
        "crates/setting-names/Cargo.toml",
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

/// The folder of this project's scripts, and the script that the platform calls.
const SCRIPTS: &str = "src/js";

/// The library's script in build/.
pub const LIBRARY: &str = "gate.js";

/// The folder of the glue and of copies of the scripts.
const GLUE: &str = "target/wasm/joined";

/// Functions with one caller are not inlined, because inlining costs bytes after compression.
const INLINE_LITTLE: [&str; 2] =
    ["--one-caller-inline-max-function-size=0", "--always-inline-max-function-size=0"];

/// The first 1024 bytes of memory hold only the far end of the stack of 1 MiB, because rustc links
/// with `--stack-first`. So wasm-opt may add a constant below 1024 to an address within one
/// instruction.
const LOW_MEMORY_UNUSED: &str = "--low-memory-unused";

/// The features that rustc emits for wasm32, and the exceptions of wasm-bindgen's wrappers. They
/// are named one by one, so that no encoding is used that workerd does not support.
const WASM_FEATURES: [&str; 7] = [
    "--enable-bulk-memory",
    "--enable-exception-handling",
    "--enable-multivalue",
    "--enable-mutable-globals",
    "--enable-nontrapping-float-to-int",
    "--enable-reference-types",
    "--enable-sign-ext",
];

#[cfg(test)]
mod tests {
    use super::without_repeated_imports;

    #[test]
    fn glue_keeps_the_first_import_of_each_module() {
        let glue = "import * as import1 from \"./a.js\"\nreturn {\n  \"./a.js\": import1,\n  \
                    \"./a.js\": import2,\n  \"./b.js\": import3,\n};\n";
        let kept = glue.replace("  \"./a.js\": import2,\n", "");
        assert_eq!(without_repeated_imports(glue), kept);
    }
}
