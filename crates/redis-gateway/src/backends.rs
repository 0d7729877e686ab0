//! All Redis deployments behind the gateway. There is one, except with serverless-redis-http's
//! configuration, where each token has its own.

use crate::backend::{Backend, DedicatedConnection, Outage, Readiness, Replies};
use futures_util::future::join_all;
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

    /// Checks all of them at once. They are ready if at least one is, since each serves tokens of
    /// its own. Each has its warnings.
    pub async fn check(&self) -> Readiness {
        let mut all = Readiness { is_ready: false, warnings: Vec::new() };
        for Readiness { is_ready, warnings } in join_all(self.0.iter().map(Backend::check)).await {
            all.is_ready |= is_ready;
            for warning in warnings {
                // Several tokens may have the same Redis.
                if !all.warnings.contains(&warning) {
                    all.warnings.push(warning);
                }
            }
        }
        all
    }

    /// The configuration has no token of another number.
    fn of(&self, server: usize) -> Result<&Backend, Outage> {
        self.0.get(server).ok_or(Outage::Unreachable)
    }
}
