//! The tools for building and testing: their versions and how each is installed. Everything is
//! checked first, and all missing tools are reported at once. Then what can be installed is
//! installed, in parallel where possible, and below `.tools/` and `node_modules/` where possible.

mod apt;
mod needs;
mod npm;
mod probe;
mod python;
mod setup;
mod toolchain;
mod wasm_target;

pub use needs::Extent;
pub use probe::postgres_bin;
pub use setup::{Installed, Setup, ensure};
pub use toolchain::Tools;
