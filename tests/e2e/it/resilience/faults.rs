//! The edge while a dependency fails: 200 requests a second of every kind, through a proxy that
//! injects one fault after the other. `cargo xtask bench faults` gives each fault 20 s and puts the
//! tables into docs/reliability.md.

mod auth_service;
mod clock;
pub mod harm;
mod scene;
mod store;
mod timeline;
mod upstream;
