//! All Redis deployments behind the gateway. There is one, except with serverless-redis-http's
//! configuration, where each token has its own.

use crate::backend::{Backend, DedicatedConnection, Outage, Replies};
use redis_rest::{Command, Reply};

/// All Redis deployments behind the gateway. Each token has the number of its own.
pub struct Backends(Vec<Backend>);

impl Backends {
    pub fn new(backends: Vec<Backend>) -> Self {
        Self(backends)
    }

    /// Runs commands in order, without atomicity. See [`Backend::run`].
    pub async fn run(
        &self,
        server: usize,
        commands: Vec<Command>,
    ) -> Result<Replies<Vec<Reply>>, Outage> {
        self.of(server)?.run(commands).await
    }

    /// Runs commands as one transaction. See [`Backend::run_atomically`].
    pub async fn run_atomically(
        &self,
        server: usize,
        commands: &[Command],
    ) -> Result<Replies<Reply>, Outage> {
        self.of(server)?.run_atomically(commands).await
    }

    /// Opens a connection with one user, for SUBSCRIBE or MONITOR.
    pub async fn open(&self, server: usize) -> Result<DedicatedConnection, Outage> {
        self.of(server)?.open().await
    }

    /// Returns whether each of them is ready.
    pub async fn are_ready(&self) -> bool {
        for backend in &self.0 {
            if !backend.is_ready().await {
                return false;
            }
        }
        true
    }

    /// Returns the text for operators while they are ready, with a warning for each that may evict
    /// keys.
    pub async fn ready_text(&self) -> String {
        let mut text = "ready\n".to_owned();
        for backend in &self.0 {
            if let Some(warning) = backend.eviction_warning().await {
                text.push_str(&format!("{warning}\n"));
            }
        }
        text
    }

    /// The configuration has no token of another number.
    fn of(&self, server: usize) -> Result<&Backend, Outage> {
        self.0.get(server).ok_or(Outage::Unreachable)
    }
}
