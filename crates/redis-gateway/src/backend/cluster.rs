//! A Redis Cluster: splits commands among its nodes, and follows redirections.
//!
//! A redirection is checked against what the nodes themselves report, since a script can return the
//! same error. The gateway follows one redirection of a script, and never waits for one.

mod dispatch;
mod hash_slot;
mod merge;
mod nodes;
mod order;
mod plan;
mod redirect;
mod refresh;
mod slot_map;

use super::memory::ReplyMemory;
use super::outage::Outage;
use super::pool::Pool;
use super::readiness::CheckedMaster;
use super::transaction::transact;
use crate::command::{self, argument_is};
use crate::metrics::Metrics;
use crate::redis_url::{Address, ConnectOptions};
use dispatch::{dispatch, has_time_to_retry, slot_not_served};
use futures_util::future::join_all;
use hash_slot::HASH_SLOTS;
use merge::Merge;
use nodes::Nodes;
use plan::{ALL_MASTER_COMMANDS, CROSS_SLOT, PARTS_MAX, TOO_MANY_PARTS, Target, slot, split};
use redirect::Redirect;
use redis_rest::{Command, Reply};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A Redis Cluster.
pub struct Cluster {
    nodes: Arc<Nodes>,
}

impl Cluster {
    /// Starts to fetch the slot map from the seeds, and to keep it current.
    pub fn start(
        seeds: Vec<Address>,
        options: ConnectOptions,
        connections: usize,
        timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let nodes = Arc::new(Nodes::new(seeds, options, connections, timeout, metrics));
        tokio::spawn(refresh::run(Arc::downgrade(&nodes)));
        Self { nodes }
    }

    /// Runs commands, each on the nodes that have its keys, and returns a reply for each.
    pub async fn run(
        &self,
        commands: Vec<Command>,
        memory: &Arc<ReplyMemory>,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Outage> {
        let map = self.nodes.slot_map(deadline).await?;
        let turn = self.nodes.next_turn();
        let mut parts = Vec::with_capacity(commands.len());
        let count = commands.len();
        let mut merges: Vec<Merge> = Vec::with_capacity(count);
        for command in commands {
            merges.push(split(command, &map, turn, &mut parts));
            if parts.len() > PARTS_MAX {
                return Ok(vec![Reply::Error(TOO_MANY_PARTS.to_owned()); count]);
            }
        }
        let outcomes = dispatch(&self.nodes, &parts, memory, deadline).await;
        if memory.is_exhausted() {
            return Err(Outage::Memory);
        }
        // If no node responded at all, the request fails. Otherwise each command has its own reply.
        if let Some(Err(outage)) = outcomes.first()
            && outcomes.iter().all(Result::is_err)
        {
            return Err(*outage);
        }
        let mut replies: Vec<Reply> = outcomes
            .into_iter()
            .map(|outcome| outcome.unwrap_or_else(|outage| Reply::Error(outage.text().to_owned())))
            .collect();
        Ok(merges.into_iter().map(|merge| merge.merge(&mut replies)).collect())
    }

    /// Runs commands as one transaction on the node that has all of their keys.
    pub async fn run_atomically(
        &self,
        commands: &[Command],
        memory: &Arc<ReplyMemory>,
        deadline: Instant,
    ) -> Result<Reply, Outage> {
        let target = match transaction_target(commands) {
            Ok(target) => target,
            Err(error) => return Ok(Reply::Error(error)),
        };
        loop {
            let map = self.nodes.slot_map(deadline).await?;
            let Some(address) = self.nodes.resolve(&target, &map) else {
                return Ok(slot_not_served());
            };
            // A redirection comes when a command is queued, or at EXEC. In either case nothing ran.
            let reply = transact(&self.nodes.pool(&address), commands, memory, deadline).await?;
            let Reply::Error(text) = &reply else { return Ok(reply) };
            // Each command of a transaction would need its own ASKING. So after ASK, too, the
            // transaction waits until the slot has moved.
            if Redirect::parse(text, &address).is_none() || !has_time_to_retry(deadline) {
                return Ok(reply);
            }
            self.nodes.wait_for_newer_map(&map).await;
        }
    }

    /// Returns the pool of a master that is up, or of any master if none is.
    pub async fn any_master(&self, deadline: Instant) -> Result<Arc<Pool>, Outage> {
        let map = self.nodes.slot_map(deadline).await?;
        let address = self.nodes.resolve(&Target::AnyMaster, &map).ok_or(Outage::Unreachable)?;
        Ok(self.nodes.pool(&address))
    }

    /// Sends the gateway's own queries to every master, or to the seeds while no master is known.
    pub async fn query_masters(
        &self,
        queries: &[Command],
        deadline: Instant,
    ) -> Vec<CheckedMaster> {
        let Ok(map) = self.nodes.slot_map(deadline).await else {
            let silent = |seed: &Address| CheckedMaster {
                name: seed.to_string(),
                replies: Err(Outage::Unreachable),
            };
            return self.nodes.seeds.iter().map(silent).collect();
        };
        let sent = map.masters.iter().map(async |master| CheckedMaster {
            name: master.to_string(),
            replies: self.nodes.pool(master).query(queries, deadline).await,
        });
        join_all(sent).await
    }

    /// Returns a warning if slots have no master by the current map.
    pub fn unserved_slots(&self) -> Option<String> {
        let map = self.nodes.current_slot_map();
        let unserved = usize::from(HASH_SLOTS).saturating_sub(map.served_slots());
        (unserved > 0).then(|| format!("warning: {unserved} slots of the Cluster have no master"))
    }
}

/// Returns where a transaction runs. Returns `Err` with the error's text if no single node can run
/// it.
fn transaction_target(commands: &[Command]) -> Result<Target, String> {
    let mut slots = Vec::new();
    for command in commands {
        if ALL_MASTER_COMMANDS.iter().any(|name| argument_is(command, 0, name)) {
            let name = command::display_name(command);
            return Err(format!("ERR '{name}' goes to every node; a transaction runs on one"));
        }
        slots.extend(slot(command)?);
    }
    if slots.windows(2).any(|two| matches!(two, [a, b] if a != b)) {
        return Err(format!("{CROSS_SLOT}: a transaction runs on one node"));
    }
    Ok(slots.first().map_or(Target::AnyMaster, |slot| Target::Slot(*slot)))
}

#[cfg(test)]
mod tests;
