//! Redis: one server, the master that Sentinels name, or a Cluster.
//!
//! All reads go to masters, so a client that has written reads its own write.

mod batch;
mod cluster;
mod connection;
mod eviction;
mod memory;
mod outage;
mod pool;
mod protocol;
mod readiness;
mod sentinel;
mod source;
mod steps;
mod transaction;

use crate::metrics::Metrics;
use crate::redis_url::Deployment;
use batch::Batch;
use cluster::Cluster;
pub use connection::DedicatedConnection;
use eviction::EvictionMonitor;
pub use memory::{ReplyMemory, Reservation, ResponseMemory, StreamMemory, StreamReservation};
pub use outage::Outage;
use pool::Pool;
pub use readiness::Readiness;
use readiness::{CHECK_TIMEOUT, CheckedMaster, MasterMonitor};
use redis_rest::{Command, Reply};
use sentinel::Sentinels;
use source::Source;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use transaction::transact;

/// The Redis behind the gateway.
pub struct Backend {
    topology: Arc<Topology>,
    timeout: Duration,
    memory: ResponseMemory,
    monitors: Arc<Monitors>,
}

/// The state of the masters by the last check.
struct Monitors {
    eviction: EvictionMonitor,
    masters: MasterMonitor,
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
        memory: ResponseMemory,
        metrics: Arc<Metrics>,
    ) -> Self {
        let monitors = Arc::new(Monitors {
            eviction: EvictionMonitor::new(Arc::clone(&metrics)),
            masters: MasterMonitor::new(Arc::clone(&metrics)),
        });
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
        let topology = Arc::new(topology);
        tokio::spawn(watch(Arc::clone(&monitors), Arc::downgrade(&topology), timeout));
        Self { topology, timeout, memory, monitors }
    }

    /// Runs commands in order, without atomicity. Returns one reply for each; some may be errors of
    /// Redis.
    ///
    /// # Errors
    ///
    /// No reply came within `GATEWAY_DEADLINE_MS`, no connection is up, or the replies take too
    /// much memory. The commands may have run.
    pub async fn run(&self, commands: Vec<Command>) -> Result<Replies<Vec<Reply>>, Outage> {
        let deadline = Instant::now() + self.timeout;
        let memory = ReplyMemory::new(&self.memory);
        if commands.is_empty() {
            return Ok(Replies { value: Vec::new(), memory });
        }
        let value = match &*self.topology {
            Topology::Cluster(cluster) => cluster.run(commands, &memory, deadline).await?,
            Topology::Single(pool) => pool.send(Batch::new(&commands), &memory, deadline).await?,
        };
        Ok(Replies { value, memory })
    }

    /// Runs commands as one transaction.
    ///
    /// Returns an array of all replies, or the error that discarded the transaction.
    ///
    /// # Errors
    ///
    /// Those of [`Backend::run`].
    pub async fn run_atomically(&self, commands: &[Command]) -> Result<Replies<Reply>, Outage> {
        let deadline = Instant::now() + self.timeout;
        let memory = ReplyMemory::new(&self.memory);
        let value = match &*self.topology {
            Topology::Cluster(cluster) => {
                cluster.run_atomically(commands, &memory, deadline).await?
            }
            Topology::Single(pool) => transact(pool, commands, &memory, deadline).await?,
        };
        Ok(Replies { value, memory })
    }

    /// Opens a connection with one user, for SUBSCRIBE or MONITOR.
    ///
    /// # Errors
    ///
    /// Redis can't be reached within `GATEWAY_DEADLINE_MS`.
    pub async fn open(&self) -> Result<DedicatedConnection, Outage> {
        let deadline = Instant::now() + self.timeout;
        match &*self.topology {
            Topology::Cluster(cluster) => cluster.any_master(deadline).await?.open(deadline).await,
            Topology::Single(pool) => pool.open(deadline).await,
        }
    }

    /// Checks which masters respond, and whether they may evict keys.
    pub async fn check(&self) -> Readiness {
        let mut readiness = self.monitors.check(&self.topology, self.timeout).await;
        let policy = self.monitors.eviction.policy();
        readiness.warnings.extend(policy.map(|policy| eviction::warning(&policy)));
        readiness
    }
}

impl Monitors {
    /// Queries all masters, and notes what they reply.
    async fn check(&self, topology: &Topology, timeout: Duration) -> Readiness {
        let deadline = Instant::now() + timeout.min(CHECK_TIMEOUT);
        let queries = [Command::new("PING"), eviction::query()];
        let masters = topology.query_masters(&queries, deadline).await;
        let mut readiness = self.masters.update(&masters);
        if let Topology::Cluster(cluster) = topology {
            readiness.warnings.extend(cluster.unserved_slots());
        }
        let replies = masters.into_iter().filter_map(|master| master.replies.ok()?.pop());
        self.eviction.update(&replies.collect::<Vec<_>>());
        readiness
    }
}

impl Topology {
    /// Sends the gateway's own queries to every master.
    async fn query_masters(&self, queries: &[Command], deadline: Instant) -> Vec<CheckedMaster> {
        match self {
            Self::Cluster(cluster) => cluster.query_masters(queries, deadline).await,
            Self::Single(pool) => {
                let replies = pool.query(queries, deadline).await;
                vec![CheckedMaster { name: pool.name(), replies }]
            }
        }
    }
}

/// Checks the masters at an interval, until the topology is dropped.
async fn watch(monitors: Arc<Monitors>, topology: Weak<Topology>, timeout: Duration) {
    while let Some(strong) = topology.upgrade() {
        monitors.check(&strong, timeout).await;
        drop(strong);
        sleep(monitors.eviction.pause()).await;
    }
}

/// Replies, and the memory that they hold until they are dropped.
pub struct Replies<T> {
    /// The replies.
    pub value: T,
    /// Their memory.
    pub memory: Arc<ReplyMemory>,
}

impl<T> Replies<T> {
    /// Replaces the replies, and keeps their memory.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Replies<U> {
        Replies { value: convert(self.value), memory: self.memory }
    }
}
