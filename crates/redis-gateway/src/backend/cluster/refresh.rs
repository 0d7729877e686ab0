//! Refreshes the slot map, at an interval and on request.

use super::nodes::Nodes;
use super::slot_map::SlotMap;
use redis_rest::{Command, Reply};
use std::sync::Weak;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Refreshes the slot map until the nodes are dropped.
pub async fn run(nodes: Weak<Nodes>) {
    let mut failure_logged = false;
    while let Some(strong) = nodes.upgrade() {
        let refreshed = refresh(&strong).await;
        if let (Err(why), false) = (&refreshed, failure_logged) {
            tracing::warn!(event = "cluster_unknown", why);
        }
        failure_logged = refreshed.is_err();
        // A partial map is less urgent than a missing one.
        let interval = match refreshed {
            Ok(()) => INTERVAL,
            Err(_) if strong.masters().is_empty() => PAUSE,
            Err(_) => PARTIAL_INTERVAL,
        };
        let _ = timeout(interval, strong.refresh_requested()).await;
        // Dropping the strong reference lets the task end with the Cluster.
        drop(strong);
        sleep(PAUSE).await;
    }
}

/// Queries the nodes in turn until one has a complete map in a healthy Cluster.
///
/// A node that is cut off from the others still answers, so its map alone is not enough. If no node
/// has a complete map, takes the best partial one. Returns `Err` with the reason.
async fn refresh(nodes: &Nodes) -> Result<(), String> {
    let mut why = "no node responds".to_owned();
    let mut partial: Option<SlotMap> = None;
    let mut addresses = nodes.masters();
    let turn = nodes.next_turn() % addresses.len().max(1);
    addresses.rotate_left(turn);
    addresses.extend(nodes.seeds.iter().cloned());
    for address in addresses {
        let cluster = |subcommand: &str| Command::new("CLUSTER").arg(subcommand);
        let query = [cluster("SLOTS"), cluster("NODES"), cluster("INFO")];
        let deadline = Instant::now() + QUERY_TIMEOUT;
        let Ok(replies) = nodes.pool(&address).query(&query, deadline).await else { continue };
        let [slots, node_list, info] = replies.as_slice() else { continue };
        if let Reply::Error(text) = slots {
            why = text.clone();
        }
        let Some(map) = SlotMap::parse(slots, node_list, &address) else { continue };
        // Without permission for CLUSTER INFO, a complete map must be enough.
        let is_healthy = info.as_text().is_none_or(|text| text.contains("cluster_state:ok"));
        if is_healthy && map.is_complete() {
            nodes.replace_slot_map(map);
            return Ok(());
        }
        if partial.as_ref().is_none_or(|best| best.served_slots() < map.served_slots()) {
            partial = Some(map);
        }
    }
    nodes.replace_slot_map(partial.ok_or(why)?);
    Err("no node reports a complete cluster".to_owned())
}

const INTERVAL: Duration = Duration::from_secs(10);
const PARTIAL_INTERVAL: Duration = Duration::from_secs(1);
/// The pause between two refreshes, however many are requested.
const PAUSE: Duration = Duration::from_millis(100);
const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
