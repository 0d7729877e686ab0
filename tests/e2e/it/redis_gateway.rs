//! The redis gateway before real Redis servers.

mod admission;
mod clusters;
mod connections;
mod memory;
mod operations;
mod privileges;
mod protocol;
mod sentinels;
mod streams;
mod tls;
mod tokens;
mod topologies;
