//! The HTTP server.

mod account;
mod adjustments;
mod blocks;
mod body;
mod caller;
mod client_auth;
mod client_info;
mod clients;
mod cookie;
mod edge_metrics;
mod extract;
mod gauges;
mod headers;
mod keys;
mod limits;
mod log;
mod metrics;
mod oauth;
mod query;
mod response;
mod router;
mod server;
mod state;
mod usage;
mod users;
mod write_rates;

pub use server::serve;
