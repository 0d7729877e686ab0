//! Runs tests that were compiled for wasm32, for `cargo test`, as `wasm-bindgen-test-runner` of the
//! same version does.
//!
//! Installed with `cargo install`, that command compiled for three minutes. This program shares
//! what the Worker's binder has compiled.

fn main() -> anyhow::Result<()> {
    wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(std::env::args_os())
}
