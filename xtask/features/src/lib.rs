//! Nothing but dependencies. Cargo compiles a crate once for each set of features, and each command
//! has sets of its own. With those listed here, `xtask` and `xtask-bind` take the sets of the
//! servers, so that a first `cargo xtask dev` compiles some forty crates only once.
