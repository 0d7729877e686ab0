//! Generates the JavaScript glue of a Wasm module: `xtask-bind INPUT.wasm OUTPUT_FOLDER`.
//!
//! Writes what `wasm-bindgen --target web --experimental-reset-state-function` of the same version
//! writes. A program of its own, so that only a build of the Worker compiles the library.

use anyhow::{Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [input, output] = arguments.as_slice() else {
        bail!("usage: xtask-bind INPUT.wasm OUTPUT_FOLDER");
    };
    Bindgen::new()
        .web(true)?
        .input_path(input)
        .typescript(true)
        .reset_state_function(true)
        // The command's default, which is not the library's.
        .omit_default_module_path(false)
        .generate(output)
}
