//! Runs tests that were compiled for wasm32, for `cargo test`: what `wasm-bindgen-test-runner` of
//! the same version does.
//!
//! As a `cargo install` of its own, that command compiled for three minutes. Here it shares what
//! the binder of the Worker has compiled.

fn main() -> anyhow::Result<()> {
    wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(std::env::args_os())
}
