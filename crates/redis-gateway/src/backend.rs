//! Redis: one server, the master that Sentinels name, or a Cluster.
//!
//! All reads go to masters, so a client that has written reads its own write.

mod cluster;
mod connection;
mod outage;
mod pool;
mod protocol;
mod sentinel;
mod source;
mod transaction;

use crate::metrics::Metrics;
use crate::redis_url::Deployment;
use cluster::Cluster;
pub use connection::DedicatedConnection;
pub use outage::Outage;
use pool::Pool;
use protocol::{encode_commands, is_alive};
use redis_rest::{Command, Reply};
use sentinel::Sentinels;
use source::Source;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use transaction::transact;

/// The Redis behind the gateway.
pub struct Backend {
    topology: Topology,
    timeout: Duration,
}

enum Topology {
    Cluster(Cluster),
    /// One server, or one master at a time.
    Single(Box<Pool>),
}

impl Backend {
    /// Starts to connect in the background, so the gateway may start before its Redis.
    pub fn start(
        deployment: Deployment,
        connections: usize,
        timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let single = |source| {
            let pool = Pool::start(source, connections, timeout, Arc::clone(&metrics));
            Topology::Single(Box::new(pool))
        };
        let topology = match deployment {
            Deployment::Cluster { seeds, options } => {
                Topology::Cluster(Cluster::start(seeds, options, connections, timeout, metrics))
            }
            Deployment::Sentinel { sentinels, sentinel_options, master_name, options } => single(
                Source::Sentinel(Sentinels::new(sentinels, sentinel_options, master_name, options)),
            ),
            Deployment::Standalone { address, options } => {
                single(Source::Fixed { address, options })
            }
        };
        Self { topology, timeout }
    }

    /// Runs commands in order, without atomicity. Returns one reply for each, errors included.
    pub async fn run(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Outage> {
        let deadline = Instant::now() + self.timeout;
        match &self.topology {
            Topology::Cluster(cluster) => cluster.run(commands, deadline).await,
            Topology::Single(pool) => {
                pool.send(encode_commands(&commands), commands.len(), deadline).await
            }
        }
    }

    /// Runs commands as one transaction.
    ///
    /// Returns an array of all replies, or the error by which the transaction was discarded.
    pub async fn run_atomically(&self, commands: &[Command]) -> Result<Reply, Outage> {
        let deadline = Instant::now() + self.timeout;
        match &self.topology {
            Topology::Cluster(cluster) => cluster.run_atomically(commands, deadline).await,
            Topology::Single(pool) => transact(pool, commands, deadline).await,
        }
    }

    /// Opens a connection with one user, for SUBSCRIBE or MONITOR.
    pub async fn open(&self) -> Result<DedicatedConnection, Outage> {
        let deadline = Instant::now() + self.timeout;
        match &self.topology {
            Topology::Cluster(cluster) => cluster.any_master(deadline).await?.open(deadline).await,
            Topology::Single(pool) => pool.open(deadline).await,
        }
    }

    /// Returns whether Redis answers. In a Cluster, every master must answer and own all slots
    /// between them.
    pub async fn is_ready(&self) -> bool {
        let deadline = Instant::now() + self.timeout;
        match &self.topology {
            Topology::Cluster(cluster) => cluster.is_ready(deadline).await,
            Topology::Single(pool) => {
                let ping = encode_commands(&[Command::new("PING")]);
                pool.send(ping, 1, deadline).await.is_ok_and(|replies| replies.iter().all(is_alive))
            }
        }
    }
}
