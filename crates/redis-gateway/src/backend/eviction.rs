//! Detects whether Redis may evict keys, revocations among them.

use crate::metrics::Metrics;
use redis_rest::{Command, Reply};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The last known eviction policy. A change is logged and shown in the metrics.
pub struct EvictionMonitor {
    metrics: Arc<Metrics>,
    policy: Mutex<Policy>,
}

/// The policy by which Redis may evict keys.
#[derive(Clone, Eq, PartialEq)]
enum Policy {
    /// No master has responded so far.
    Unknown,
    Evicts(String),
    KeepsAll,
}

impl EvictionMonitor {
    /// Creates a monitor that knows no policy yet.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, policy: Mutex::new(Policy::Unknown) }
    }

    /// Returns the policy by which Redis may evict keys. Returns `None` if it keeps all keys.
    pub fn policy(&self) -> Option<String> {
        match &*self.policy.lock().unwrap_or_else(PoisonError::into_inner) {
            Policy::Evicts(policy) => Some(policy.clone()),
            Policy::KeepsAll | Policy::Unknown => None,
        }
    }

    /// Returns how long to wait until the next check: 60 s, or 1 s while the policy is unknown.
    pub fn pause(&self) -> Duration {
        match &*self.policy.lock().unwrap_or_else(PoisonError::into_inner) {
            Policy::Unknown => RETRY,
            Policy::Evicts(_) | Policy::KeepsAll => INTERVAL,
        }
    }

    /// Reads the replies of all masters to [`query`]. Keeps the last policy if there is no reply.
    pub fn update(&self, replies: &[Reply]) {
        if replies.is_empty() {
            return;
        }
        // Without permission for INFO, the policy counts as harmless.
        let policy = match replies.iter().filter_map(Reply::as_text).find_map(evicting_policy) {
            Some(policy) => Policy::Evicts(policy.to_owned()),
            None => Policy::KeepsAll,
        };
        let mut last = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        if *last == policy {
            return;
        }
        // Each of several deployments counts.
        let evicts = |policy: &Policy| i64::from(matches!(policy, Policy::Evicts(_)));
        self.metrics.redis_may_evict.add(evicts(&policy) - evicts(&last));
        if let Policy::Evicts(policy) = &policy {
            tracing::warn!(event = "redis_may_evict", policy, advice = warning(policy));
        } else if matches!(*last, Policy::Evicts(_)) {
            tracing::info!(event = "redis_keeps_all");
        }
        *last = policy;
    }
}

/// Returns the command for the settings of a master.
pub fn query() -> Command {
    Command::new("INFO").arg("memory")
}

/// Returns the warning for operators.
pub fn warning(policy: &str) -> String {
    format!(
        "warning: Redis may evict keys, also revocations (maxmemory-policy {policy}); set \
         maxmemory-policy noeviction"
    )
}

/// Returns the policy in a reply to INFO; `None` if Redis does not evict keys by it.
fn evicting_policy(info: &str) -> Option<&str> {
    let field = |name: &str| {
        let mut fields = info.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(found, _)| *found == name).map(|(_, value)| value.trim())
    };
    let policy = field("maxmemory_policy").filter(|policy| *policy != "noeviction")?;
    (field("maxmemory")? != "0").then_some(policy)
}

/// The interval of checks: the settings may change while Redis runs, and another master may have
/// others.
const INTERVAL: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bounded_redis_with_a_policy_evicts() {
        let info = |bytes: &str, policy: &str| {
            format!(
                "# Memory\r\nmaxmemory:{bytes}\r\nmaxmemory_human:x\r\nmaxmemory_policy:{policy}\r\n"
            )
        };
        assert_eq!(evicting_policy(&info("100", "volatile-lru")), Some("volatile-lru"));
        assert_eq!(evicting_policy(&info("0", "allkeys-lru")), None);
        assert_eq!(evicting_policy(&info("100", "noeviction")), None);
        assert_eq!(evicting_policy("# Memory\r\n"), None);
    }
}
