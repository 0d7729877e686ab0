//! What the redis gateway and the auth service share as servers.
//!
//! A [`Listener`] accepts connections within [`Bounds`] and ends with a drain. [`tls`] loads
//! certificates, [`mod@settings`] reads what a server is configured by, and [`Log`] writes the log in the
//! format of docs/reliability.md.

mod admission;
mod connection;
mod files;
mod handler;
mod head_memory;
mod known;
mod listener;
mod log;
mod log_format;
mod metrics;
mod network;
mod request_body;
pub mod settings;
mod signals;
pub mod tls;

pub use connection::Connection;
pub use files::raise_file_limit;
pub use listener::{Bounds, Listener, bind};
pub use log::{Log, elapsed_ms};
pub use metrics::ListenerMetrics;
pub use request_body::RequestBody;
pub use signals::Signals;
