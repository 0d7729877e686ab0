//! The plan of a stack: its ports, its secrets, and the settings of each part.

use super::local::{edge_auth_key, loopback, random_text, record_encryption_key};
use crate::edge::EdgeConfig;
use crate::policy;
use crate::postgres;
use crate::workspace::at;
use anyhow::Result;
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::PathBuf;

/// The auth service's database.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum Database {
    Postgres,
    Sqlite,
}

/// The store of tokens and limits.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum StoreKind {
    /// A memcached server, to which edge and auth service connect directly.
    Memcached,
    /// A Redis behind the redis gateway.
    Redis,
}

/// The runtime of the Worker.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum Engine {
    /// The bare runtime.
    Workerd,
    /// `wrangler dev`, as developers use it.
    Wrangler,
}

/// The ports of all parts.
pub struct Ports {
    pub edge: u16,
    pub gateway: u16,
    pub gateway_admin: u16,
    pub auth: u16,
    pub auth_admin: u16,
    pub redis: u16,
    pub upstream: u16,
    pub console: u16,
}

/// The plan of a system.
pub struct Plan {
    /// The folder of its files.
    pub folder: PathBuf,
    pub ports: Ports,
    pub db: Database,
    pub store: StoreKind,
    pub engine: Engine,
    /// An existing Redis to use.
    pub redis_url: Option<String>,
    /// The redis gateway's tokens: one of role full, the edge's, and the auth service's.
    pub store_token: String,
    pub edge_token: String,
    pub auth_token: String,
    pub introspection_secret: String,
    pub record_encryption_key: String,
    /// The key that authenticates the edge to the auth service.
    pub edge_auth_key: String,
    pub master_key: String,
    pub password: String,
    /// The policy file; `None` for this workspace's.
    pub policy_file: Option<PathBuf>,
    /// The overlay of the Worker's policy and variables.
    pub vars: Map<String, Value>,
    /// Whether the auth service's access tokens are opaque.
    pub opaque: bool,
    /// A certificate that workerd trusts.
    pub trust: Option<PathBuf>,
    /// The most megabytes of the Worker's V8 heap under workerd.
    pub heap_mb: Option<u32>,
    /// The overlay of the auth service's environment.
    pub auth_env: Vec<(String, String)>,
}

impl Plan {
    /// Creates the usual plan, with new secrets, under bare workerd.
    pub fn new(folder: PathBuf, ports: [u16; 8], db: Database) -> Self {
        let [edge, gateway, auth, redis, upstream, gateway_admin, auth_admin, console] = ports;
        Self {
            folder,
            ports: Ports {
                edge,
                gateway,
                gateway_admin,
                auth,
                auth_admin,
                redis,
                upstream,
                console,
            },
            db,
            store: StoreKind::Redis,
            engine: Engine::Workerd,
            redis_url: None,
            store_token: random_text(),
            edge_token: random_text(),
            auth_token: random_text(),
            introspection_secret: random_text(),
            record_encryption_key: record_encryption_key(),
            edge_auth_key: edge_auth_key(),
            master_key: record_encryption_key(),
            password: random_text(),
            policy_file: None,
            vars: Map::new(),
            opaque: false,
            trust: None,
            heap_mb: None,
            auth_env: Vec::new(),
        }
    }

    pub fn log(&self, name: &str) -> PathBuf {
        self.folder.join("log").join(format!("{name}.log"))
    }

    pub fn edge_url(&self) -> String {
        format!("http://{}", loopback(self.ports.edge))
    }

    pub fn auth_url(&self) -> String {
        format!("http://{}", loopback(self.ports.auth))
    }

    /// Returns the URL of the auth service's readiness and metrics.
    pub fn auth_admin_url(&self) -> String {
        format!("http://{}", loopback(self.ports.auth_admin))
    }

    /// Returns the URL of the operator console.
    pub fn console_url(&self) -> String {
        format!("http://{}", loopback(self.ports.console))
    }

    /// Returns the URL of the redis gateway's readiness and metrics.
    pub fn gateway_admin_url(&self) -> String {
        format!("http://{}", loopback(self.ports.gateway_admin))
    }

    pub fn store_url(&self) -> String {
        match self.store {
            StoreKind::Memcached => format!("memcached://{}", loopback(self.ports.redis)),
            StoreKind::Redis => format!("http://{}", loopback(self.ports.gateway)),
        }
    }

    pub fn redis_url(&self) -> String {
        match &self.redis_url {
            Some(url) => url.clone(),
            None => format!("redis://{}", loopback(self.ports.redis)),
        }
    }

    /// Returns the address of Redis as it may be printed. A user's own URL may contain a password.
    pub fn redis_address(&self) -> String {
        match &self.redis_url {
            Some(_) => "your own".to_owned(),
            None => self.redis_url(),
        }
    }

    /// Returns the documented tokens of edge and auth service, with the secrets of this stack.
    pub fn gateway_tokens(&self) -> Result<String> {
        let example = fs::read_to_string(at("docs/redis-gateway-tokens.toml"))?;
        Ok(example.replace("EDGE_TOKEN", &self.edge_token).replace("AUTH_TOKEN", &self.auth_token))
    }

    pub fn upstream_url(&self) -> String {
        format!("http://{}", loopback(self.ports.upstream))
    }

    /// Returns the Worker's configuration: the policy file and wrangler.toml, then the stack's own
    /// parts, then the test's overlay.
    pub fn edge(&self) -> Result<EdgeConfig> {
        let mut edge = EdgeConfig::shipped()?;
        if let Some(file) = &self.policy_file {
            edge.policy = policy::read(file)?;
        }
        edge.vars.extend(self.edge_vars());
        // A policy file of its own is for this store already.
        if self.store == StoreKind::Memcached && self.policy_file.is_none() {
            without_scripts(&mut edge.policy);
        }
        if self.opaque {
            opaque(&mut edge.policy);
        }
        edge.lay_over(&self.vars);
        Ok(edge)
    }

    /// Returns the variables that name the stack's own parts.
    pub fn edge_vars(&self) -> [(String, Value); 10] {
        [
            ("UPSTREAM_URL", self.upstream_url()),
            ("AUTH_URL", self.auth_url()),
            ("STORE_URL", self.store_url()),
            ("ISSUER", self.edge_url()),
            ("JWKS_URL", format!("{}/.well-known/jwks.json", self.auth_url())),
            ("INTROSPECTION_URL", format!("{}/oauth/introspect", self.auth_url())),
            ("STORE_TOKEN", self.edge_token.clone()),
            ("INTROSPECTION_SECRET", self.introspection_secret.clone()),
            ("RECORD_ENCRYPTION_KEY", self.record_encryption_key.clone()),
            ("EDGE_AUTH_KEY", self.edge_auth_key.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value.into()))
    }

    pub fn database_url(&self) -> String {
        match self.db {
            Database::Postgres => postgres::url(&postgres::folder()),
            Database::Sqlite => format!("sqlite://{}", self.folder.join("auth.db").display()),
        }
    }

    /// Returns the file of the auth service's settings, for its server and its commands.
    pub fn auth_config(&self) -> PathBuf {
        self.folder.join("auth.toml")
    }

    pub fn auth_settings(&self) -> Result<String> {
        let settings = json!({
            "server": {
                "listen": loopback(self.ports.auth).to_string(),
                "admin_listen": loopback(self.ports.auth_admin).to_string(),
            },
            "console": { "listen": loopback(self.ports.console).to_string() },
            "database": { "url": self.database_url() },
            "tokens": { "issuer": self.edge_url(), "audience": AUDIENCE },
            "store": { "url": self.store_url(), "token_file": STORE_TOKEN_FILE },
            "record_encryption": { "key_file": RECORD_ENCRYPTION_KEY_FILE },
            "edge_auth": { "key_file": EDGE_AUTH_KEY_FILE },
            "signing": { "master_key_file": MASTER_KEY_FILE },
            "introspection": { "clients_file": INTROSPECTION_CLIENTS_FILE },
        });
        Ok(toml::to_string(&settings)?)
    }

    /// The files next to the auth service's settings that hold its secrets.
    pub fn auth_secrets(&self) -> [(PathBuf, String); 5] {
        [
            (STORE_TOKEN_FILE, self.auth_token.clone()),
            (RECORD_ENCRYPTION_KEY_FILE, self.record_encryption_key.clone()),
            (EDGE_AUTH_KEY_FILE, self.edge_auth_key.clone()),
            (MASTER_KEY_FILE, self.master_key.clone()),
            (INTROSPECTION_CLIENTS_FILE, format!("edge={}", self.introspection_secret)),
        ]
        .map(|(name, secret)| (self.folder.join(name), secret))
    }
}

/// Removes what memcached can't do from the policy.
fn without_scripts(policy: &mut Map<String, Value>) {
    let routes = policy.get_mut("routes").and_then(Value::as_array_mut);
    for route in routes.into_iter().flatten() {
        if let Some(limit) = route.get_mut("limit").and_then(Value::as_object_mut) {
            limit.insert("algorithm".to_owned(), "fixed_window".into());
            limit.remove("overrides");
        }
    }
    for issuer in issuers(policy) {
        issuer.remove("sessions_in_store");
    }
    policy.remove("usage");
    policy.remove("metrics");
}

/// Turns the issuers into issuers of opaque tokens.
fn opaque(policy: &mut Map<String, Value>) {
    for issuer in issuers(policy) {
        for member in ["algorithms", "jwks_url", "token_type"] {
            issuer.remove(member);
        }
        let introspection = issuer.get_mut("introspection").and_then(Value::as_object_mut);
        introspection.map(|members| members.insert("token_prefix".into(), "pca_".into()));
    }
}

fn issuers(policy: &mut Map<String, Value>) -> impl Iterator<Item = &mut Map<String, Value>> {
    let issuers = policy.get_mut("issuers").and_then(Value::as_array_mut);
    issuers.into_iter().flatten().filter_map(Value::as_object_mut)
}

pub const USERNAME: &str = "demo";
/// The user who manages keys, clients, users, blocks and limits, also in the console.
pub const OPERATOR: &str = "operator";
pub const OPERATOR_SCOPE: &str = "api:read keys:manage keys:admin clients:admin users:admin \
    blocks:admin limits:admin usage:read usage:admin console:read console:act";
/// The user who may look at the console.
pub const VIEWER: &str = "viewer";
pub const VIEWER_SCOPE: &str = "console:read";
const AUDIENCE: &str = "https://api.example";
const STORE_TOKEN_FILE: &str = "auth-store-token";
const RECORD_ENCRYPTION_KEY_FILE: &str = "auth-record-encryption-key";
const EDGE_AUTH_KEY_FILE: &str = "auth-edge-auth-key";
const MASTER_KEY_FILE: &str = "auth-master-key";
const INTROSPECTION_CLIENTS_FILE: &str = "auth-introspection-clients";
