//! Detects whether the store may evict keys. If a revocation marker is evicted, the revoked token
//! becomes valid again.

use super::publisher::Publisher;
use redis_rest::{Command, Reply};
use std::sync::PoisonError;

impl Publisher {
    /// Queries whether the store evicts keys when its memory is full, and logs each change. The
    /// policy stays unknown if the store rejects `INFO`, or does not permit it for this token.
    pub async fn check_eviction(&self) {
        let query = [Command::new("INFO").arg("memory")];
        let Ok(replies) = self.store.execute(&query).await else { return };
        let Some(info) = replies.first().and_then(Reply::as_text) else {
            return tracing::debug!(event = "store_eviction_unknown");
        };
        let policy = evicting_policy(info);
        let mut known = self.evicting_policy.lock().unwrap_or_else(PoisonError::into_inner);
        match &policy {
            Some(policy) if known.as_ref() != Some(policy) => tracing::warn!(
                event = "store_may_evict",
                policy,
                fix =
                    "set maxmemory-policy noeviction; without its marker a revoked token is valid"
            ),
            None if known.is_some() => tracing::info!(event = "store_evicts_nothing"),
            _ => {}
        }
        *known = policy;
    }

    /// Returns the policy by which the store evicts keys; `None` if it evicts none or the policy is
    /// unknown.
    pub fn evicting_policy(&self) -> Option<String> {
        self.evicting_policy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Returns the policy in Redis's reply to `INFO memory`; `None` if it can't evict keys. Without a
/// memory limit, Redis evicts nothing.
fn evicting_policy(info: &str) -> Option<String> {
    let value = |name: &str| {
        let mut lines = info.lines().filter_map(|line| line.trim().split_once(':'));
        lines.find_map(|(own, value)| (own == name).then_some(value))
    };
    let policy = value("maxmemory_policy").filter(|policy| *policy != "noeviction")?;
    let is_name = |b: u8| b.is_ascii_lowercase() || b == b'-';
    let is_known = policy.len() <= 32 && policy.bytes().all(is_name);
    let is_bounded = value("maxmemory") != Some("0");
    is_bounded.then(|| if is_known { policy } else { "unknown" }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_evicts_only_with_a_memory_limit() {
        let info = |limit: u64, policy: &str| {
            let info = format!(
                "# Memory\r\nused_memory:1\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n"
            );
            evicting_policy(&info)
        };
        assert_eq!(info(1, "allkeys-lru").as_deref(), Some("allkeys-lru"));
        assert_eq!(info(1, "volatile-ttl").as_deref(), Some("volatile-ttl"));
        assert_eq!(info(1, "forged\n").as_deref(), Some("forged"));
        assert_eq!(info(1, "\"x\"").as_deref(), Some("unknown"));
        assert_eq!(info(0, "allkeys-lru"), None);
        assert_eq!(info(1, "noeviction"), None);
        assert_eq!(evicting_policy("redis_version:7"), None);
        assert_eq!(evicting_policy("maxmemory_policy:allkeys-lfu").as_deref(), Some("allkeys-lfu"));
    }
}
