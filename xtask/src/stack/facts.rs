//! The facts about a running stack, as its JSON file contains them.

use super::plan::{OPERATOR, Plan, USERNAME, VIEWER};
use crate::process::Servers;
use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Map, Value, json};

/// A part of the stack that can run alone.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum Part {
    Edge,
}

/// Returns the facts that a test needs. If one part runs alone, the URLs of the others are those of
/// the Worker's configuration.
pub fn facts(plan: &Plan, only: Option<Part>) -> Result<Map<String, Value>> {
    let facts = json!({
        "edge_url": plan.edge_url(),
        "auth_url": plan.auth_url(),
        "auth_admin_url": plan.auth_admin_url(),
        "console": plan.console_url(),
        "redis_gateway_admin_url": plan.gateway_admin_url(),
        "store_url": plan.store_url(),
        "store_token": plan.store_token,
        "edge_store_token": plan.edge_token,
        "introspection_secret": plan.introspection_secret,
        "record_encryption_key": plan.record_encryption_key,
        "auth_config": plan.auth_config(),
        "database_url": plan.database_url(),
        "redis_url": plan.redis_url(),
        "upstream_url": plan.upstream_url(),
        "user": { "username": USERNAME, "password": plan.password },
        "operator": { "username": OPERATOR, "password": plan.password },
        "viewer": { "username": VIEWER, "password": plan.password },
        "logs": plan.folder.join("log"),
    });
    let mut facts = facts.as_object().cloned().unwrap_or_default();
    if only.is_some() {
        let edge = plan.edge()?;
        for section in ["auth", "store", "upstream"] {
            facts.insert(format!("{section}_url"), edge.url(section).into());
        }
        let token = edge.vars.get("STORE_TOKEN").cloned();
        facts.insert("store_token".to_owned(), token.unwrap_or_default());
        facts.remove("redis_url");
    }
    for (new, old) in OLD_NAMES {
        if let Some(value) = facts.get(new).cloned() {
            facts.insert(old.to_owned(), value);
        }
    }
    Ok(facts)
}

/// Returns the process ids, by the servers' names.
pub fn pids(servers: &Servers) -> Value {
    let pids = servers.0.iter().flat_map(|server| {
        let old = OLD_NAMES.iter().filter(|(new, _)| *new == server.name).map(|(_, old)| *old);
        old.chain([server.name]).map(|name| (name.to_owned(), json!(server.pid())))
    });
    Value::Object(pids.collect())
}

/// Renamed members of the JSON file, each with its old name, which is written as well.
const OLD_NAMES: [(&str, &str); 5] = [
    ("auth", "origin"),
    ("auth_config", "origin_config"),
    ("auth_url", "origin_url"),
    ("record_encryption_key", "seal_key"),
    ("redis-gateway", "gateway"),
];
