//! The Redis behind: one server, the master that Sentinels name, or a Cluster. All reads go to masters,
//! so that who has written reads what was written.

mod cluster;
mod link;
mod reply;

use crate::metrics::Metrics;
use crate::redis_url::Target;
use cluster::Cluster;
pub use cluster::{Address, Seeds};
pub use link::{AskSentinels, Outage};
use link::{Node, Source};
use redis::{Client, Pipeline, RedisError};
use redis_rest::{Command, Reply};
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
    /// Connections are made and mended in the background, so the gateway may start before its Redis.
    pub fn start(
        target: Target,
        connections: usize,
        deadline: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let topology = match target {
            Target::Cluster(seeds) => {
                Topology::Cluster(Cluster::start(seeds, connections, metrics))
            }
            Target::Sentinel(ask) => {
                Topology::One(Box::new(Node::start(Source::Sentinel(ask), connections, metrics)))
            }
            Target::Single(client) => {
                let source = Source::Fixed(Arc::new(client));
                Topology::One(Box::new(Node::start(source, connections, metrics)))
            }
        };
        Self { topology, deadline }
    }

    /// Runs commands in order, not atomically: a reply each, errors among them.
    pub async fn run(&self, commands: Vec<Command>) -> Result<Vec<Reply>, Outage> {
        let deadline = Instant::now() + self.deadline;
        match &self.topology {
            Topology::Cluster(cluster) => cluster.run(commands, deadline).await,
            Topology::One(node) => node.send(&pack(&commands), commands.len(), deadline).await,
        }
    }

    /// Runs commands as one transaction on one connection: all replies, or the one error by which they
    /// were discarded.
    pub async fn run_atomically(&self, commands: &[Command]) -> Result<Reply, Outage> {
        let deadline = Instant::now() + self.deadline;
        match &self.topology {
            Topology::Cluster(cluster) => cluster.run_atomically(commands, deadline).await,
            Topology::One(node) => transact(node, commands, deadline).await.map(|done| done.reply),
        }
    }

    /// A client for a connection of one's own: what follows channels, or watches, can share none.
    pub async fn client(&self) -> Result<Client, Outage> {
        let deadline = Instant::now() + self.deadline;
        match &self.topology {
            Topology::Cluster(cluster) => cluster.any(deadline).await?.client(deadline).await,
            Topology::One(node) => node.client(deadline).await,
        }
    }

    /// Whether Redis answers: of a Cluster, every master.
    pub async fn is_ready(&self) -> bool {
        let deadline = Instant::now() + self.deadline;
        let is_pong = |replies: Result<Vec<Reply>, Outage>| {
            replies.is_ok_and(|replies| replies == [Reply::Status("PONG".to_owned())])
        };
        match &self.topology {
            Topology::Cluster(cluster) => cluster.is_ready(deadline).await,
            Topology::One(node) => {
                is_pong(node.send(&pack(&[Command::new("PING")]), 1, deadline).await)
            }
        }
    }
}

/// What became of a transaction.
struct Transacted {
    reply: Reply,
    /// What its commands were answered when they were queued, where they were refused.
    refused: Option<String>,
}

/// MULTI, the commands and EXEC, in one write to one connection.
async fn transact(
    node: &Node,
    commands: &[Command],
    deadline: Instant,
) -> Result<Transacted, Outage> {
    let mut pipeline = redis::Pipeline::with_capacity(commands.len() + 2);
    pipeline.ignore_errors();
    pipeline.cmd("MULTI");
    commands.iter().for_each(|command| add(&mut pipeline, command));
    pipeline.cmd("EXEC");
    let mut replies = node.send_transaction(&pipeline, commands.len() + 2, deadline).await?;
    let last = replies.pop().unwrap_or(Reply::Null);
    let refused = replies.into_iter().find_map(|reply| match reply {
        Reply::Error(text) => Some(text),
        Reply::Array(_) | Reply::Bulk(_) | Reply::Integer(_) | Reply::Null | Reply::Status(_) => {
            None
        }
    });
    let reply = match (&refused, last) {
        (Some(text), _) => Reply::Error(text.clone()),
        (None, reply) => reply,
    };
    Ok(Transacted { reply, refused })
}

fn pack(commands: &[Command]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    pipeline.ignore_errors();
    commands.iter().for_each(|command| add(&mut pipeline, command));
    pipeline
}

fn add(pipeline: &mut Pipeline, command: &Command) {
    let bytes: usize = command.words().iter().map(Vec::len).sum();
    let mut packed = redis::Cmd::with_capacity(command.words().len(), bytes);
    for word in command.words() {
        packed.arg(word.as_slice());
    }
    pipeline.add_command(packed);
}

/// What an error of the driver's is about, for the log; Redis's own words are in it, no values.
fn about(error: &RedisError) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.category()),
        None => error.to_string(),
    }
}
