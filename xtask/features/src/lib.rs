//! A crate with dependencies only. Cargo compiles a crate once for each set of features, and each
//! command has different sets. With the dependencies listed here, `xtask` and `xtask-bind` use the
//! sets of the servers. So a first `cargo xtask dev` compiles some forty crates only once.
