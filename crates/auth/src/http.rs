//! The HTTP server.

mod account;
mod body;
mod caller;
mod client_info;
mod cookie;
mod edge_metrics;
mod extract;
mod gauges;
mod headers;
mod keys;
mod log;
mod metrics;
mod oauth;
mod query;
mod response;
mod router;
mod server;
mod state;
mod usage;

pub use server::serve;
