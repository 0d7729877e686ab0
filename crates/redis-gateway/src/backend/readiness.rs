//! The check of the masters of one deployment, for `/readyz` and the metrics.

use super::outage::Outage;
use super::protocol::is_alive;
use crate::metrics::Metrics;
use redis_rest::Reply;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Whether a Redis can be used, and what operators should know of it.
pub struct Readiness {
    /// Whether at least one master responds. Commands on the keys of the others are errors.
    pub is_ready: bool,
    /// A line for each master that does not respond, and for slots without a master. No line has
    /// a user or a password.
    pub warnings: Vec<String>,
}

/// A master, and its replies to the queries of a check. The first one is PING.
pub struct CheckedMaster {
    /// Its address, or the name by which Sentinels know it.
    pub name: String,
    pub replies: Result<Vec<Reply>, Outage>,
}

impl CheckedMaster {
    /// Returns whether it responds to PING.
    fn responds(&self) -> bool {
        self.replies.as_ref().is_ok_and(|replies| replies.first().is_some_and(is_alive))
    }
}

/// How many masters of one deployment did not respond to the last check.
pub struct MasterMonitor {
    metrics: Arc<Metrics>,
    down: Mutex<i64>,
}

impl MasterMonitor {
    /// Creates a monitor that counts no master as down.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, down: Mutex::new(0) }
    }

    /// Counts the masters that do not respond, and returns whether the others make Redis usable.
    pub fn update(&self, masters: &[CheckedMaster]) -> Readiness {
        let silent = masters.iter().filter(|master| !master.responds());
        let warning =
            |master: &CheckedMaster| format!("warning: Redis at {} does not respond", master.name);
        let warnings: Vec<String> = silent.map(warning).collect();
        let count = i64::try_from(warnings.len()).unwrap_or(i64::MAX);
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        // Each of several deployments counts.
        self.metrics.redis_masters_down.add(count - *down);
        *down = count;
        Readiness { is_ready: warnings.len() < masters.len(), warnings }
    }
}

/// Below the 5 s that kubernetes/base gives a probe: one master that hangs must not fail it.
pub const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
