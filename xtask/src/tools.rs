//! What building and testing needs, at which version, and how each piece is installed. All of it is
//! checked first, and everything that is missing is named at once. Then what can be installed is, at
//! the same time where possible, below `.tools/` and `node_modules/` where possible.

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
