//! The Redis behind: one server, the master that Sentinels name, or a Cluster. All reads go to masters,
//! so that who has written reads what was written.

mod cluster;
mod connection;
mod link;
mod sentinel;

use crate::metrics::Metrics;
use crate::redis_url::Target;
use cluster::Cluster;
pub use connection::Own;
pub use link::Outage;
use link::{Node, Source};
use redis_rest::{Command, Reply, TOO_LARGE, encode_resp2_command};
use sentinel::Sentinels;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The Redis behind.
pub struct Backend {
    topology: Topology,
    deadline: Duration,
}

enum Topology {
    Cluster(Arc<Cluster>),
    One(Box<Node>),
}

impl Backend {
    /// Connections are made and mended in the background, so the redis gateway may start before its Redis.
    pub fn start(
        target: Target,
        connections: usize,
        deadline: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let one = |source| {
            let node = Node::start(source, connections, deadline, Arc::clone(&metrics));
            Topology::One(Box::new(node))
        };
        let topology = match target {
            Target::Cluster { seeds, how } => {
                Topology::Cluster(Cluster::start(seeds, how, connections, deadline, metrics))
            }
            Target::Sentinel { sentinels, asking, name, how } => {
                one(Source::Sentinel(Sentinels::new(sentinels, asking, name, how)))
            }
            Target::Single { address, how } => one(Source::Fixed { address, how }),
        };
        Self { topology, deadline }
    }

    /// Runs commands in order, not atomically: a reply each, errors among them.
    pub async fn run(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Outage> {
        let deadline = Instant::now() + self.deadline;
        match &self.topology {
            Topology::Cluster(cluster) => cluster.run(commands, deadline).await,
            Topology::One(node) => node.send(packed(&commands), commands.len(), deadline).await,
        }
    }

    /// Runs commands as one transaction on one connection: all replies, or the one error by which they
    /// were discarded.
    pub async fn run_atomically(&self, commands: &[Command]) -> Result<Reply, Outage> {
        let deadline = Instant::now() + self.deadline;
        match &self.topology {
            Topology::Cluster(cluster) => cluster.run_atomically(commands, deadline).await,
            Topology::One(node) => transact(node, commands, deadline).await,
        }
    }

    /// A connection of one's own: what follows channels, or watches, can share none.
    pub async fn open(&self) -> Result<Own, Outage> {
        let deadline = Instant::now() + self.deadline;
        match &self.topology {
            Topology::Cluster(cluster) => cluster.any(deadline).await?.open(deadline).await,
            Topology::One(node) => node.open(deadline).await,
        }
    }

    /// Whether Redis answers: of a Cluster, every master, and that each slot has one.
    pub async fn is_ready(&self) -> bool {
        let deadline = Instant::now() + self.deadline;
        match &self.topology {
            Topology::Cluster(cluster) => cluster.is_ready(deadline).await,
            Topology::One(node) => {
                let ping = packed(&[Command::new("PING")]);
                node.send(ping, 1, deadline).await.is_ok_and(|replies| replies.iter().all(is_alive))
            }
        }
    }
}

/// MULTI, the commands and EXEC, in one write to one connection. The first error of a command that was
/// not queued is the reply: EXEC then only says that there was one.
async fn transact(node: &Node, commands: &[Command], deadline: Instant) -> Result<Reply, Outage> {
    let mut bytes = packed(&[Command::new("MULTI")]);
    commands.iter().for_each(|command| encode_resp2_command(command, &mut bytes));
    encode_resp2_command(&Command::new("EXEC"), &mut bytes);
    let mut replies = node.transact(bytes, commands.len() + 2, deadline).await?;
    if let Some(Reply::Error(text)) = replies.first()
        && text != link::NO_MULTI
    {
        let why = "Redis refused MULTI, so the commands may have run one by one";
        return Ok(Reply::Error(format!("{text} ({why})")));
    }
    let last = replies.pop().unwrap_or(Reply::Null);
    if let Some(refused) = replies.into_iter().find(|reply| matches!(reply, Reply::Error(_))) {
        return Ok(refused);
    }
    // It was done, though nobody can be told what came of it.
    if matches!(&last, Reply::Error(text) if text == TOO_LARGE) {
        return Ok(Reply::Array(commands.iter().map(|_| last.clone()).collect()));
    }
    Ok(last)
}

/// Commands as Redis receives them.
fn packed(commands: &[Command]) -> Vec<u8> {
    let mut bytes = Vec::new();
    commands.iter().for_each(|command| encode_resp2_command(command, &mut bytes));
    bytes
}

/// Whether this answers a PING; a user that may not send one is answered so, too.
fn is_alive(reply: &Reply) -> bool {
    match reply {
        Reply::Error(text) => text.starts_with("NOPERM"),
        reply => reply.as_text() == Some("PONG"),
    }
}
