//! The example of a Worker in Rust, built with the tools that the edge is built with: worker-build
//! would first have to be compiled itself.

use crate::process::output;
use crate::tools::Tools;
use crate::workspace::at;
use anyhow::Result;
use std::fs;
use std::process::Command;

/// Builds the script and the Wasm module of examples/rust-api into target/rust-api/worker. It
/// expects the binder to be built. From nothing this takes two minutes.
pub fn build(tools: &Tools) -> Result<()> {
    let (target, folder) = (at("target/rust-api"), at("target/rust-api/worker"));
    let mut compile = tools.wasm_command("cargo");
    compile.current_dir(at("examples/rust-api")).env("CARGO_TARGET_DIR", &target);
    compile.args(["build", "--quiet", "--locked", "--release", "--target", TARGET]);
    output(&mut compile)?;
    let _ = fs::remove_dir_all(&folder);
    let module = target.join(TARGET).join("release/rust_api.wasm");
    output(Command::new(at("target/debug/xtask-bind")).arg(module).arg(&folder))?;
    fs::write(folder.join("shim.js"), SHIM)?;
    let mut esbuild = tools.command("esbuild");
    esbuild.arg(folder.join("shim.js")).args(["--bundle", "--format=esm"]);
    esbuild.args(["--external:./rust_api_bg.wasm", "--external:cloudflare:*"]);
    esbuild.arg(format!("--outfile={}", folder.join("index.js").display()));
    output(&mut esbuild)?;
    Ok(())
}

/// What worker-build writes around the glue, without its panic recovery.
const SHIM: &str = "import module from './rust_api_bg.wasm';
import { fetch, initSync } from './rust_api.js';
initSync({ module });
export default { fetch };
";

const TARGET: &str = "wasm32-unknown-unknown";
