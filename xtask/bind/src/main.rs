//! Generates the JavaScript glue of a Wasm module: `xtask-bind [--node] INPUT.wasm OUTPUT_FOLDER`.
//!
//! With `--node`, the glue is an ES module for Node, which loads the Wasm itself. Otherwise the
//! output is that of `wasm-bindgen --target web --experimental-reset-state-function` of the same
//! version. This is a separate program, so that only a build of the Worker compiles the library.

use anyhow::{Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let is_for_node = arguments.first().is_some_and(|first| first == "--node");
    arguments.drain(..usize::from(is_for_node));
    let [input, output] = arguments.as_slice() else {
        bail!("usage: xtask-bind [--node] INPUT.wasm OUTPUT_FOLDER");
    };
    if is_for_node {
        return Bindgen::new().nodejs_module(true)?.input_path(input).generate(output);
    }
    Bindgen::new()
        .web(true)?
        .input_path(input)
        .typescript(true)
        .reset_state_function(true)
        // This is the command's default, but not the library's.
        .omit_default_module_path(false)
        .generate(output)
}
