//! The system under test: a proxy in front of each dependency of the edge, and servers that can be
//! killed and restarted.

use super::history::REVOCATION_SECONDS_MAX;
use super::sabotage::{Sabotage, filter};
use super::settings::{
    BLOCK_REFRESH_SECONDS, CUSTOM, CUSTOM_QUOTA, FILES, FORGED_KEY, FORGER, GUEST_QUOTA,
    KEY_HEADER, KEY_PREFIX, ORDERS, PAID, custom_limit, guest_limit, paid_limit,
};
use crate::support::events::URL;
use crate::support::gateway::Gateway;
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, issuer_at, serve};
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::provider::{Behaviour, Provider};
use crate::support::proxy::Proxy;
use crate::support::stack::{Stack, stop};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// The edge's `STORE_DEADLINE_MS`.
pub const STORE_DEADLINE_MS: u64 = 1000;

/// The lifetime of access tokens. It is so short that many expire within a run.
const ACCESS_TOKEN_SECONDS: u64 = 120;

/// The largest heap of the edge's V8, in MB. Without a limit, V8 keeps garbage until the edge has
/// served some 40,000 requests. A bare Worker that only fetches grows in the same way, from 49 to
/// 260 MB; the edge grows from 61 to 378 MB. With a limit of 40 MB, the edge stays at 145 MB from
/// the 12,000th request on, so that a leak shows in two minutes. Workers in production have 128 MB.
const EDGE_HEAP_MB: &str = "32";

/// A server that can be killed and restarted.
pub struct Server {
    pub name: &'static str,
    port: u16,
    folder: Folder,
    command: Box<dyn Fn() -> Command + Send>,
    process: Option<Process>,
    pub starts: usize,
}

impl Server {
    fn start(
        name: &'static str,
        port: u16,
        command: impl Fn() -> Command + Send + 'static,
    ) -> Self {
        let (folder, command) = (Folder::new(), Box::new(command));
        let mut server = Self { name, port, folder, command, process: None, starts: 0 };
        server.up();
        server
    }

    /// Starts the server and waits until its port is open.
    pub fn up(&mut self) {
        let log = self.folder.file(&format!("{}.log", self.starts));
        self.starts += 1;
        let process = Process::start(&mut (self.command)(), log);
        wait_for_port(self.port, &process);
        self.process = Some(process);
    }

    /// Kills the server, like `kill -9`.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.signal("-KILL");
        }
    }

    /// Returns the logs of all starts.
    fn logs(&self) -> String {
        let files = (0..self.starts).map(|start| self.folder.file(&format!("{start}.log")));
        files.map(|file| std::fs::read_to_string(file).unwrap_or_default()).collect()
    }
}

/// A process at one moment.
pub struct Running {
    pub name: &'static str,
    pub pid: u32,
    pub starts: usize,
}

/// The system.
pub struct System {
    pub stack: Stack,
    pub edge: Stack,
    /// A second isolate, for a part of the requests.
    pub other: Stack,
    /// The proxies in front of the store: the edge's, and the auth service's.
    pub stores: [Proxy; 2],
    pub auth: Proxy,
    pub upstream: Proxy,
    pub sockets: Provider,
    servers: Mutex<BTreeMap<&'static str, Server>>,
}

impl System {
    /// Starts the system. Blocks until every part responds.
    pub fn start(sabotage: Sabotage, grace_seconds: u64) -> Self {
        let stack = Stack::start(&[], None);
        let stores = [(); 2].map(|()| Proxy::start(stack.fact("store_url")));
        let store_url = match sabotage {
            Sabotage::MarkersDropped => filter(&stores[1].url(), sabotage),
            _ => stores[1].url(),
        };
        let edge_store_url = match sabotage {
            Sabotage::EventsDropped => filter(&stores[0].url(), sabotage),
            _ => stores[0].url(),
        };
        let mut servers = own_servers(&stack, store_url, grace_seconds);
        let auth = Proxy::start(stack.fact("auth_url"));
        let auth_url = match sabotage {
            Sabotage::ReuseUndetected => filter(&auth.url(), sabotage),
            _ => auth.url(),
        };
        let upstream_url = match sabotage {
            Sabotage::UpstreamLeaks => {
                let (port, server) = leaky_upstream();
                servers.insert(server.name, server);
                format!("http://127.0.0.1:{port}")
            }
            _ => stack.fact("upstream_url").to_owned(),
        };
        let upstream = Proxy::start(&upstream_url);
        let sockets = Provider::start(Behaviour::WebSocketEcho);
        let mut keys = TRUSTED.jwks();
        if sabotage == Sabotage::ForgerTrusted {
            keys["keys"].as_array_mut().unwrap().push(FORGER.jwk(FORGED_KEY));
        }
        let mut vars =
            edge_vars(&stack, &edge_store_url, &auth_url, &upstream.url(), &sockets.url(""));
        vars["issuers"].as_array_mut().unwrap().push(second_issuer(&serve(keys)));
        sabotage.change(&mut vars);
        let options = ["--only", "edge", "--heap-mb", EDGE_HEAP_MB];
        let [edge, other] = [(); 2].map(|()| Stack::start(&options, Some(vars.clone())));
        let servers = Mutex::new(servers);
        Self { stack, edge, other, stores, auth, upstream, sockets, servers }
    }

    /// Applies `act` to a server, in a thread that may block.
    pub fn with_server(&self, name: &str, act: impl FnOnce(&mut Server)) {
        let mut servers = self.servers.lock().unwrap();
        tokio::task::block_in_place(|| act(servers.get_mut(name).unwrap()));
    }

    /// Returns the running processes of the system.
    pub fn running(&self) -> Vec<Running> {
        let fixed = |name, pid| Running { name, pid, starts: 1 };
        let servers = self.servers.lock().unwrap();
        let mut running = vec![fixed("edge", self.edge.pid("edge"))];
        if !servers.contains_key(UPSTREAM) {
            running.push(fixed(UPSTREAM, self.stack.pid(UPSTREAM)));
        }
        running.extend(servers.values().filter_map(|server| {
            let pid = server.process.as_ref()?.pid();
            Some(Running { name: server.name, pid, starts: server.starts })
        }));
        running
    }

    /// Returns how often each server was restarted.
    pub fn restarts(&self) -> BTreeMap<&'static str, usize> {
        let servers = self.servers.lock().unwrap();
        servers.values().map(|server| (server.name, server.starts - 1)).collect()
    }

    /// Returns the logs of all servers that can be killed.
    pub fn logs(&self) -> String {
        self.servers.lock().unwrap().values().map(Server::logs).collect()
    }

    /// Stops the system. The harness would otherwise panic because of the edge's log.
    pub async fn stop_despite_defects(self) {
        let stopped = tokio::spawn(stop(self)).await;
        println!("stopped, {}", if stopped.is_ok() { "cleanly" } else { "with defects" });
    }
}

const UPSTREAM: &str = "upstream";

/// Kills the stack's own store, redis gateway and auth service, and starts replacements.
fn own_servers(
    stack: &Stack,
    store_url: String,
    grace_seconds: u64,
) -> BTreeMap<&'static str, Server> {
    let port =
        |fact: &str| -> u16 { stack.fact(fact).rsplit(':').next().unwrap().parse().unwrap() };
    let ports = [port("redis_url"), port("store_url"), port("auth_url")];
    for name in ["auth", "redis-gateway", "redis"] {
        stack.signal(name, "-KILL");
    }
    for port in ports {
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let [redis, gateway, auth] = ports;
    let data = stack.folder().join("redis");
    let start_redis = move || {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--port"]);
        command.arg(redis.to_string()).arg("--dir").arg(&data);
        command
    };
    let tokens = stack.folder().join("redis-gateway-tokens.toml");
    let (redis_url, token) =
        (stack.fact("redis_url").to_owned(), stack.fact("store_token").to_owned());
    let start_gateway = move || {
        let mut command = Gateway::command();
        command.args(["--listen", &format!("127.0.0.1:{gateway}"), "--tokens-file"]).arg(&tokens);
        command.env("REDIS_URL", &redis_url).env("GATEWAY_TOKENS", format!("operator={token}"));
        command
    };
    let config = stack.fact("auth_config").to_owned();
    let start_auth = move || {
        let mut command = Command::new(AUTH_PROGRAM);
        command.arg("--config").arg(&config).arg("serve").env("STORE_URL", &store_url);
        command.env("LOGIN_ATTEMPTS_PER_USERNAME", "0").env("LOGIN_ATTEMPTS_PER_ADDRESS", "0");
        command.env("SESSIONS_PER_USER_MAX", "1000");
        command.env("ACCESS_TOKEN_SECONDS", ACCESS_TOKEN_SECONDS.to_string());
        // In half an hour one user gets more keys than the 100 of the default.
        command.env("API_KEYS_PER_OWNER_MAX", "1000");
        command.env("REFRESH_GRACE_SECONDS", grace_seconds.to_string());
        command
    };
    let servers = [
        Server::start("redis", redis, start_redis),
        Server::start("redis-gateway", gateway, start_gateway),
        Server::start("auth", auth, start_auth),
    ];
    servers.into_iter().map(|server| (server.name, server)).collect()
}

pub const AUTH_PROGRAM: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debug/portcullis-auth");

fn leaky_upstream() -> (u16, Server) {
    let [port] = free_ports();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/resilience/soak/leaky_upstream.mjs");
    let start = move || {
        let mut command = Command::new("node");
        command.arg(script).arg(port.to_string());
        command
    };
    (port, Server::start(UPSTREAM, port, start))
}

/// Returns the issuer of the visitors, which pushes events.
fn second_issuer(jwks_url: &str) -> Value {
    let mut issuer = issuer_at(jwks_url);
    issuer["events"] = json!({
        "audience": ["edge", URL], "accept": ["logout", "security_events", "global_revocation"],
        "token_life_seconds_max": 200,
    });
    issuer
}

fn edge_vars(stack: &Stack, store: &str, auth: &str, upstream: &str, sockets: &str) -> Value {
    let own = stack.fact("edge_url");
    json!({
        "revocation.delay_seconds_max": REVOCATION_SECONDS_MAX,
        "block.refresh_seconds": BLOCK_REFRESH_SECONDS,
        "store.url": store, "STORE_TOKEN": stack.fact("edge_store_token"),
        "store.timeout_ms": STORE_DEADLINE_MS,
        "auth.url": auth, "auth.timeout_ms": 2000,
        "upstream.url": upstream, "upstream.timeout_ms": 2000,
        "introspection.timeout_ms": 2000, "introspection.per_second_max": 200,
        "breaker.open_ms_max": 1000, "logging.requests": "refused",
        "INTROSPECTION_SECRET": stack.fact("introspection_secret"),
        "issuers": [{
            "issuer": own, "audience": AUDIENCE, "algorithms": ["EdDSA"],
            "jwks_url": format!("{auth}/.well-known/jwks.json"),
            "sessions_in_store": true, "api_key_prefixes": KEY_PREFIX,
            "introspection": {
                "url": format!("{auth}/oauth/introspect"), "client_id": "edge",
                "client_secret_variable": "INTROSPECTION_SECRET", "revocations_in_store": true,
            },
        }],
        "resources": [{ "name": "orders", "url": ORDERS }, { "name": "files", "url": FILES }],
        "limits": [guest_limit(GUEST_QUOTA), paid_limit(), custom_limit(CUSTOM_QUOTA)],
        "routes": [
            { "name": "events", "path": "/events", "access": "events" },
            {
                "name": "open", "path": "/open/*", "access": "optional", "require": "not_revoked",
                "anonymous_limits": ["guests"],
            },
            {
                "name": "orders", "path": "/orders/*", "access": "protected",
                "require": "not_revoked", "resource": "orders", "issuers": [ISSUER],
            },
            {
                "name": "files", "path": "/files/*", "access": "protected",
                "require": "not_revoked", "resource": "files", "issuers": [ISSUER],
            },
            {
                "name": "paid", "path": "/paid/*", "access": "protected",
                "require": "not_revoked", "issuers": [ISSUER], "limits": [PAID],
            },
            {
                "name": "custom", "path": "/custom/*", "access": "protected",
                "require": "not_revoked", "issuers": [ISSUER], "limits": [CUSTOM],
            },
            { "name": "refresh", "path": "/auth/refresh", "access": "auth", "endpoint": "token" },
            { "name": "logout", "path": "/auth/logout", "access": "auth", "endpoint": "revocation" },
            { "name": "revoke", "path": "/oauth/revoke", "access": "auth", "endpoint": "revocation" },
            { "name": "auth", "path": "/auth/*", "access": "auth" },
            { "name": "public", "path": "/public/*", "access": "public" },
            {
                "name": "socket", "path": "/socket", "access": "protected", "upstream": sockets,
                "issuers": [own],
            },
            {
                "name": "record", "path": "/api/record", "access": "protected", "issuers": [own],
                "limit": { "quota": 1_000_000, "window_seconds": 1, "by": "subject" },
            },
            {
                "name": "not-revoked", "path": "/api/not-revoked", "access": "protected",
                "api_key_header": KEY_HEADER,
                "require": "not_revoked",
            },
        ],
    })
}
