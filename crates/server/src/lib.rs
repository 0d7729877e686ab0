//! What the redis gateway and the auth service share as servers.
//!
//! A [`Listener`] accepts connections within [`Bounds`] and ends with a drain. [`tls`] loads
//! certificates, and [`Log`] writes the log in the format of docs/reliability.md. [`telemetry`]
//! exports traces. A [`HealthCheck`] is the command by which a container asks its server.
//!
//! ```
//! use hyper::{Request, Response};
//! use portcullis_server::{Bounds, Connection, Listener, ListenerMetrics, RequestBody, bind};
//! use tokio::sync::watch;
//!
//! async fn handle(_: Connection, _: Request<RequestBody>) -> Response<String> {
//!     Response::new("ok".to_owned())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), String> {
//! let (stop, stopping) = watch::channel(false);
//! let listener = Listener {
//!     socket: bind("127.0.0.1:0".parse().map_err(|_| "no address")?).await?,
//!     bounds: Bounds::ADMIN,
//!     tls: || None,
//!     metrics: ListenerMetrics::new("example").map_err(|error| error.to_string())?,
//!     stopping,
//! };
//! // Until `stop`, which a signal would send.
//! stop.send_replace(true);
//! listener.serve(handle).await;
//! # Ok(())
//! # }
//! ```

mod admission;
mod completions;
mod connection;
mod files;
mod handler;
mod head_memory;
mod health;
mod known;
mod listener;
mod log;
mod log_format;
mod metrics;
mod network;
mod request_body;
pub mod settings;
mod signals;
pub mod telemetry;
pub mod tls;

pub use completions::CompletionOptions;
pub use connection::Connection;
pub use files::raise_file_limit;
pub use health::{HealthCheck, HealthOptions};
pub use listener::{Bounds, Listener, bind};
pub use log::{Log, elapsed_ms};
pub use metrics::ListenerMetrics;
pub use request_body::RequestBody;
pub use signals::Signals;
