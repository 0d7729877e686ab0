//! An edge that takes events, before a store of its own.

use crate::support::edge::start_edge;
use crate::support::events::{Push, URL};
use crate::support::gateway::Gateway;
use crate::support::http::{client, get_with};
use crate::support::issuer::{Issuer, TRUSTED, issuer_at, serve};
use crate::support::process::Folder;
use crate::support::provider::Provider;
use crate::support::proxy::Proxy;
use crate::support::redis_server::Redis;
use crate::support::stack::Stack;
use redis::Commands as _;
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::Duration;

const EDGE: &str = "edge-edge-edge-edge-edge-edge-edge";
const AUTH: &str = "auth-auth-auth-auth-auth-auth-auth";
pub const OTHER_ISSUER: &str = "https://other.example";

/// Another issuer that the edge trusts.
pub static OTHER: LazyLock<Issuer> = LazyLock::new(Issuer::new);

/// An edge with the documented token of the redis gateway, before a store of its own.
pub struct Scene {
    pub edge: Stack,
    pub store: Proxy,
    pub redis: Redis,
    /// The server of the trusted issuer's keys.
    pub keys: Provider,
    _gateway: Gateway,
}

impl Scene {
    /// Starts an edge. `more` are issuers besides the two that all scenes have.
    pub async fn start(more: Vec<Value>) -> Self {
        let redis = Redis::start(&[]);
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis-gateway-tokens.toml");
        let documented = std::fs::read_to_string(file).unwrap();
        let tokens = documented.replace("EDGE_TOKEN", EDGE).replace("AUTH_TOKEN", AUTH);
        let folder = Folder::new();
        let file = folder.write("tokens.toml", &tokens).to_str().unwrap().to_owned();
        let gateway =
            Gateway::start_in(folder, &redis.url(), &[("GATEWAY_TOKENS_FILE", file.as_str())]);
        gateway.ready().await;
        let store = Proxy::start(&gateway.url);
        let keys = Provider::serving(&TRUSTED.jwks().to_string());
        let rules = json!({ "audience": ["edge", URL],
            "accept": ["logout", "security_events", "global_revocation"] });
        let mut trusted = issuer_at(&keys.url("/jwks"));
        trusted["events"] = rules.clone();
        let mut other = issuer_at(&serve(OTHER.jwks()));
        other["issuer"] = OTHER_ISSUER.into();
        other["events"] = rules;
        let mut issuers = vec![trusted, other];
        issuers.extend(more);
        let vars = json!({
            "store.url": store.url(), "STORE_TOKEN": EDGE, "store.timeout_ms": 1000,
            "breaker.failures": 0, "issuers": issuers,
            "routes": [
                { "name": "events", "path": "/events", "access": "events" },
                { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
            ],
        });
        Self { edge: start_edge(vars).await, store, redis, keys, _gateway: gateway }
    }

    pub async fn push(&self, event: &Push) -> (u16, Value) {
        event.send(&client(), &self.edge.edge("/events")).await
    }

    pub async fn api(&self, token: &str) -> u16 {
        get_with(&self.edge.edge("/api/x"), token).await.status().as_u16()
    }

    /// Returns how often Redis ran a command that reads or writes.
    pub fn commands(&self) -> u64 {
        let text: String =
            redis::cmd("INFO").arg("commandstats").query(&mut self.redis.connection()).unwrap();
        let calls = text.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let counted = ["eval", "evalsha", "get", "mget", "set", "del", "pttl", "expire"];
            let count = rest.split(',').next()?.parse::<u64>().ok()?;
            counted.contains(&name).then_some(count)
        });
        calls.sum()
    }

    /// Returns all that Redis has, with the time at which each key ends.
    pub fn held(&self) -> Vec<(String, String, i64)> {
        let mut connection = self.redis.connection();
        let keys: Vec<String> = connection.keys("*").unwrap();
        let mut held: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let value = connection.get(&key).unwrap();
                let ends = redis::cmd("PEXPIRETIME").arg(&key).query(&mut connection).unwrap();
                (key, value, ends)
            })
            .collect();
        held.sort();
        held
    }

    /// Waits until the line of a request is in the log, and returns it.
    pub async fn line(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..50 {
            let log = self.edge.log("edge");
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(line) = lines.filter(&is_it).last() {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no such line:\n{}", self.edge.log("edge"));
    }
}
