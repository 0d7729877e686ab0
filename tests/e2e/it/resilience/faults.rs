//! The edge while a dependency fails: 200 requests a second of every kind, through a proxy that
//! injects one fault after the other. `cargo xtask bench faults` injects each fault for 20 s and
//! writes the tables to docs/reliability.md.

mod auth_service;
mod clock;
pub mod harm;
mod scene;
mod store;
mod timeline;
mod upstream;
