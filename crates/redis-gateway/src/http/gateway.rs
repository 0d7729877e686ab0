//! The state that all requests share.

use crate::backend::ResponseMemory;
use crate::backends::Backends;
use crate::config::Reloadable;
use crate::metrics::Metrics;
use crate::script::Scripts;
use hyper::header::{HeaderMap, HeaderName};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// The state that all requests share.
pub struct Gateway {
    /// The Redis, or one for each token.
    pub backends: Backends,
    /// Whether `GET /` needs no token, as with serverless-redis-http.
    pub has_welcome: bool,
    /// The tokens and the certificate, which SIGHUP replaces.
    pub reloadable: watch::Receiver<Arc<Reloadable>>,
    /// The metrics of the process.
    pub metrics: Arc<Metrics>,
    /// The clients' names for scripts that Redis has under other names.
    pub scripts: Scripts,
    /// How long Redis may take for one request.
    pub timeout: Duration,
    /// The memory of responses, which streams share.
    pub memory: ResponseMemory,
    /// One permit for each stream.
    pub streams: Arc<Semaphore>,
    /// One permit for each KiB of the bodies and commands of requests in progress.
    pub bodies: Semaphore,
    /// `true` once the process drains, which ends streams.
    pub stopping: watch::Receiver<bool>,
    /// Distinguishes the sync tokens of this process from those of others.
    pub instance: u64,
    /// How many writes were executed.
    pub writes: AtomicU64,
    /// How many requests got an id of this process.
    pub requests: AtomicU64,
}

impl Gateway {
    /// Returns the sync token for the response to commands that have been executed.
    ///
    /// Each write gets a new token once it was executed. So a token is at least as new as every
    /// write that was executed before its request began. All reads go to masters, so a client reads
    /// these writes with any token.
    pub fn sync_token(&self, has_written: bool) -> String {
        let writes = match has_written {
            true => self.writes.fetch_add(1, Ordering::SeqCst).wrapping_add(1),
            false => self.writes.load(Ordering::SeqCst),
        };
        format!("{:x}.{writes:x}", self.instance)
    }

    /// Returns the client's request id, or a new one if it sent none. Only visible ASCII of it is
    /// kept, at most 64 characters, so that the log can hold it.
    pub fn request_id(&self, headers: &HeaderMap) -> String {
        let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let given: String = given.chars().filter(char::is_ascii_graphic).take(64).collect();
        if given.is_empty() {
            let number = self.requests.fetch_add(1, Ordering::Relaxed);
            format!("{:x}.{number:x}", self.instance)
        } else {
            given
        }
    }
}

/// The header of Upstash's read-your-writes tokens.
pub const SYNC_TOKEN: HeaderName = HeaderName::from_static("upstash-sync-token");
/// The header of request ids, in requests and responses.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
