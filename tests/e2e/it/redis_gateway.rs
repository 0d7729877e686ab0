//! The redis gateway before real Redis servers.

mod admission;
mod clusters;
mod connections;
mod operations;
mod protocol;
mod streams;
mod tokens;
mod topologies;
