//! The HTTP server.

mod account;
mod adjustments;
mod blocks;
pub mod body;
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
pub mod log;
mod metrics;
mod oauth;
pub mod query;
pub mod response;
mod router;
mod server;
mod state;
mod usage;
mod users;
mod write_rates;

#[cfg(test)]
pub use client_info::ClientInfoReader;
#[cfg(test)]
pub use gauges::Gauges;
pub use keys::RollBody;
pub use limits::{CreditsBody, QuotaBody};
pub use server::serve;
pub use state::AppState;
pub use usage::usage_page;
#[cfg(test)]
pub use write_rates::WriteRates;
