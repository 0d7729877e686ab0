//! The configuration of each contender.

use super::cells::{Contender, Plan};
use crate::edge::EdgeConfig;
use crate::stack::loopback;
use anyhow::{Context as _, Result};
use portcullis_core::LOCKING_LIMIT_SCRIPT_SHA1;
use serde_json::{Map, Value, json};

/// What all contenders share.
pub struct Common {
    pub upstream: u16,
    /// The redis gateway's token.
    pub token: String,
    pub record_encryption_key: String,
}

impl Common {
    /// Returns a configuration of the Worker.
    pub fn config(&self, plan: Plan, store: u16) -> Result<EdgeConfig> {
        let mut edge = EdgeConfig::shipped()?;
        edge.lay_over(&with_limit(plan.limit(QUOTA, WINDOW_SECONDS))?);
        let upstream = format!("http://{}", loopback(self.upstream));
        let members = json!({
            "issuers": [{
                "issuer": ISSUER, "audience": ISSUER, "algorithms": ["EdDSA"], "token_type": "at+jwt",
                "jwks_url": format!("{upstream}/jwks.json"),
            }],
            "store.timeout_ms": 1000,
            "revocation.delay_seconds_max": plan.delay_seconds(),
            "UPSTREAM_URL": upstream,
            "AUTH_URL": upstream,
            "STORE_URL": format!("http://{}", loopback(store)),
            "STORE_TOKEN": self.token,
            "RECORD_ENCRYPTION_KEY": self.record_encryption_key,
        });
        edge.lay_over(members.as_object().context("members")?);
        Ok(edge)
    }

    /// Returns the variables of a peer.
    pub fn peer_variables(&self, contender: Contender, store: u16) -> Map<String, Value> {
        let plan = match contender {
            Contender::Jsopt(plan) => plan,
            _ => Plan::Strict,
        };
        let lease_seconds = match plan {
            Plan::Leased { seconds } => seconds,
            _ => 0,
        };
        let window_ms = WINDOW_SECONDS * 1000;
        let has_limit = !matches!(plan, Plan::Bounded { .. });
        let command = json!([
            "EVALSHA",
            LOCKING_LIMIT_SCRIPT_SHA1,
            1,
            "pc:limit:floor:bucket:a-subject-of-which-there-is-one-hash",
            "gcra",
            QUOTA,
            window_ms,
            1,
            QUOTA
        ]);
        let commands = json!([["MGET", "pc:a", "pc:b", "pc:c", "pc:d", "pc:e"], command]);
        let upstream = format!("http://{}", loopback(self.upstream));
        let vars = json!({
            "AUDIENCE": ISSUER,
            "COMMANDS": commands.to_string(),
            "ISSUER": ISSUER,
            "JWKS_URL": format!("{upstream}/jwks.json"),
            "LEASE_SECONDS": lease_seconds.to_string(),
            "LIMIT_QUOTA": QUOTA.to_string(),
            "LIMIT_SCRIPT_SHA1": if has_limit { LOCKING_LIMIT_SCRIPT_SHA1 } else { "" },
            "LIMIT_WINDOW_MS": window_ms.to_string(),
            "PREFIX": "pc",
            "REVOCATION_SECONDS_MAX": plan.delay_seconds().to_string(),
            "RECORD_ENCRYPTION_KEY": self.record_encryption_key,
            "UPSTASH_REDIS_REST_TOKEN": self.token,
            "UPSTASH_REDIS_REST_URL": format!("http://{}", loopback(store)),
            "UPSTREAM_URL": upstream,
        });
        vars.as_object().cloned().unwrap_or_default()
    }
}

/// Returns the shipped routes, of which the last one has this limit.
pub fn with_limit(limit: Option<Value>) -> Result<Map<String, Value>> {
    let shipped = EdgeConfig::shipped()?;
    let mut routes = shipped.policy.get("routes").cloned().context("portcullis.toml: no routes")?;
    let last = routes.as_array_mut().and_then(|routes| routes.last_mut());
    let api = last.and_then(Value::as_object_mut).context("portcullis.toml: no routes")?;
    api.remove("limit");
    if let Some(limit) = limit {
        api.insert("limit".to_owned(), limit);
    }
    Ok(Map::from_iter([("routes".to_owned(), routes)]))
}

/// Parses the variables of another build of the Worker. In them, `$NAME` is replaced by a
/// variable's value.
pub fn with_values(mut text: String, vars: &Map<String, Value>) -> Result<Map<String, Value>> {
    for (name, value) in vars {
        text = text.replace(&format!("${name}"), value.as_str().unwrap_or_default());
    }
    serde_json::from_str(&text).context("vars.json")
}

pub const ISSUER: &str = "https://api.example";
/// A quota so large that no request exceeds it: 1,000 a second. It divides the window's
/// milliseconds, as most quotas do, so that the script need not read what it rounded.
pub const QUOTA: u32 = 1_000_000;
pub const WINDOW_SECONDS: u32 = 1000;
