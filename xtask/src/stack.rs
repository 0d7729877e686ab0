//! The whole system on this machine: Redis, gateway, auth service, upstream and the Worker, each a process on
//! a loopback port of its own.

use crate::process::{self, STOP, Server, Step, step, write_atomically, write_private};
use crate::tools::{self, Extent, Tools};
use crate::{at, edge, postgres, worker};
use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Options of `cargo xtask stack`.
#[derive(Args)]
pub struct Options {
    /// Written, as a whole, when every part answers.
    #[arg(long)]
    json: PathBuf,
    /// The auth service's database.
    #[arg(long, default_value = "sqlite")]
    db: Database,
    /// A JSON object laid over the variables of wrangler.toml and the stack's own.
    #[arg(long)]
    vars: Option<PathBuf>,
    /// What holds the tokens.
    #[arg(long, default_value = "redis")]
    store: StoreKind,
    /// A certificate (PEM) that workerd trusts beside those of browsers.
    #[arg(long)]
    trust: Option<PathBuf>,
    /// NAME=VALUE in the auth service's environment; may be given more than once.
    #[arg(long)]
    auth_env: Vec<String>,
    /// The edge takes opaque access tokens of the auth service, which ACCESS_TOKEN_FORMAT=opaque makes, instead of JWTs.
    #[arg(long)]
    opaque: bool,
    /// Start one part alone.
    #[arg(long)]
    only: Option<Part>,
    /// What runs the Worker.
    #[arg(long, default_value = "wrangler")]
    engine: Engine,
    /// A Redis that is there already, as the redis gateway's REDIS_URL; none is started then.
    #[arg(long)]
    redis_url: Option<String>,
    /// Also stop when standard input ends, so that the stack does not outlive a test.
    #[arg(long)]
    watch_stdin: bool,
    /// Take what is built as it is.
    #[arg(long)]
    prebuilt: bool,
}

/// The auth service's database.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum Database {
    Postgres,
    Sqlite,
}

/// What holds the tokens.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum StoreKind {
    /// A memcached, which edge and auth service speak to by themselves.
    Memcached,
    /// A Redis behind the redis gateway.
    Redis,
}

#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
enum Part {
    Edge,
}

/// What runs the Worker.
#[derive(Clone, Copy, Eq, PartialEq, ValueEnum)]
pub enum Engine {
    /// The bare runtime.
    Workerd,
    /// `wrangler dev`, as a developer has it.
    Wrangler,
}

/// The ports of all parts.
pub struct Ports {
    pub edge: u16,
    pub gateway: u16,
    pub auth: u16,
    pub redis: u16,
    pub upstream: u16,
}

/// How to bring the system up.
pub struct Plan {
    /// Where its files are.
    pub folder: PathBuf,
    pub ports: Ports,
    pub db: Database,
    pub store: StoreKind,
    pub engine: Engine,
    /// A Redis that is there already.
    pub redis_url: Option<String>,
    /// Tokens of the redis gateway's: one of role full, the edge's, the auth service's.
    pub store_token: String,
    pub edge_token: String,
    pub auth_token: String,
    pub introspection_secret: String,
    pub record_encryption_key: String,
    pub master_key: String,
    pub password: String,
    /// Laid over the Worker's variables.
    pub vars: Map<String, Value>,
    /// The auth service's access tokens are opaque.
    pub opaque: bool,
    /// A certificate that workerd trusts.
    pub trust: Option<PathBuf>,
    /// Laid over the auth service's environment.
    pub auth_env: Vec<(String, String)>,
}

/// The servers of a stack, in the order in which they were started; they end in the reverse one.
#[derive(Default)]
pub struct Servers(pub Vec<Server>);

impl Servers {
    /// Waits for the last one to answer. If one before it has ended meanwhile, that is the news.
    pub fn wait_ready(
        &mut self,
        address: SocketAddr,
        path: &str,
        accept: fn(u16) -> bool,
        seconds: u64,
    ) -> Result<()> {
        let Some(last) = self.0.last_mut() else {
            return Ok(());
        };
        let outcome = last.wait_ready(address, path, accept, Duration::from_secs(seconds));
        for server in &mut self.0 {
            if let Some(status) = server.ended() {
                bail!("{}", server.obituary(status));
            }
        }
        outcome
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        while self.0.pop().is_some() {}
    }
}

pub fn run(options: &Options) -> Result<()> {
    process::listen()?;
    if options.watch_stdin {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            STOP.store(true, Ordering::SeqCst);
        });
    }
    // Whoever waits for the file must not find an older one.
    let _ = fs::remove_file(&options.json);
    if options.store == StoreKind::Memcached && options.redis_url.is_some() {
        bail!("--redis-url is for --store redis");
    }
    let extent = match (options.db, options.store) {
        (Database::Postgres, _) => Extent::StackOnPostgres,
        (Database::Sqlite, StoreKind::Memcached) => Extent::StackOnMemcached,
        (Database::Sqlite, StoreKind::Redis) => Extent::Stack,
    };
    let tools = tools::ensure(extent)?;
    if !options.prebuilt {
        build(&tools)?;
    }
    let vars = match &options.vars {
        Some(file) => {
            let text =
                fs::read_to_string(file).with_context(|| format!("--vars {}", file.display()))?;
            let vars: Value = serde_json::from_str(&text)
                .with_context(|| format!("--vars {}", file.display()))?;
            vars.as_object().cloned().context("--vars: not a JSON object")?
        }
        None => Map::new(),
    };
    let auth_env = options.auth_env.iter().map(|pair| {
        let (name, value) = pair.split_once('=').context("--auth-env: not NAME=VALUE")?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let auth_env = auth_env.collect::<Result<_>>()?;
    // What the edge seals, the auth service opens.
    let record_encryption_key = vars
        .get("RECORD_ENCRYPTION_KEY")
        .and_then(Value::as_str)
        .map_or_else(record_encryption_key, str::to_owned);
    let folder = at("target/stack").join(std::process::id().to_string());
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let plan = Plan {
        store: options.store,
        engine: options.engine,
        redis_url: options.redis_url.clone(),
        record_encryption_key,
        vars,
        opaque: options.opaque,
        trust: options.trust.clone(),
        auth_env,
        ..Plan::new(folder.clone(), free_ports()?, options.db)
    };
    let outcome = (|| {
        let mut servers = match options.only {
            Some(Part::Edge) => {
                let mut servers = Servers::default();
                edge::start(&plan, &tools, &mut servers)?;
                servers
            }
            None => start(&plan, &tools)?,
        };
        let mut facts = plan.facts(options.only)?;
        let pids = servers.0.iter().flat_map(|server| {
            let old = OLD_NAMES.iter().filter(|(new, _)| *new == server.name).map(|(_, old)| *old);
            old.chain([server.name]).map(|name| (name, json!(server.pid())))
        });
        facts.insert("pids".into(), pids.collect());
        write_atomically(&options.json, &Value::Object(facts).to_string())?;
        eprintln!("ready: {}", options.json.display());
        // A test may kill a part to see what the others make of it, so that does not end the stack.
        let mut told = Vec::new();
        while !process::is_stopping() {
            for server in &mut servers.0 {
                if let (Some(status), false) = (server.ended(), told.contains(&server.name)) {
                    eprintln!("{}", server.obituary(status));
                    told.push(server.name);
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    })();
    let _ = fs::remove_file(&options.json);
    let _ = fs::remove_dir_all(postgres::folder());
    // After a failure the logs stay.
    if process::is_stopping() {
        let _ = fs::remove_dir_all(&folder);
        return Ok(());
    }
    outcome
}

/// Builds the servers and the Worker.
pub fn build(tools: &Tools) -> Result<()> {
    let mut cargo = crate::cargo();
    cargo.args(["build", "-p", "portcullis-redis-gateway", "-p", "portcullis-auth"]);
    let servers = Step {
        place: 1,
        of: 1,
        name: "redis gateway and auth: build".to_owned(),
        seconds_max: None,
    };
    step(&servers, &mut cargo, &at("target/log/servers.log"))?;
    worker::build(tools)
}

/// Starts every part, in the order in which they need each other; returns when all answer.
pub fn start(plan: &Plan, tools: &Tools) -> Result<Servers> {
    let ports = &plan.ports;
    let mut servers = Servers::default();
    if plan.db == Database::Postgres {
        postgres::start(&postgres::folder(), |name| plan.log(name), &mut servers)?;
    }

    if plan.store == StoreKind::Memcached {
        let mut memcached = Command::new("memcached");
        memcached.args(["-l", "127.0.0.1", "-p", &ports.redis.to_string(), "-U", "0", "-m", "64"]);
        // As root it wants to be told whom to be instead.
        memcached.args(["-u", "nobody"]);
        servers.0.push(Server::start("memcached", &mut memcached, plan.log("memcached"))?);
    } else if plan.redis_url.is_none() {
        let data = plan.folder.join("redis");
        fs::create_dir_all(&data)?;
        let mut redis = Command::new("redis-server");
        redis.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--port"]);
        redis.arg(ports.redis.to_string()).arg("--dir").arg(&data);
        servers.0.push(Server::start("redis", &mut redis, plan.log("redis"))?);
    }

    if plan.store == StoreKind::Redis {
        start_gateway(plan, &mut servers)?;
    }

    write_private(&plan.auth_config(), &plan.auth_settings()?)?;
    if plan.db == Database::Postgres {
        let output = plan.auth_command().arg("migrate").output()?;
        anyhow::ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    add_user(plan)?;
    let mut auth = plan.auth_command();
    auth.arg("serve").envs(plan.auth_env.iter().cloned());
    servers.0.push(Server::start("auth", &mut auth, plan.log("auth"))?);
    servers.wait_ready(loopback(ports.auth), "/readyz", |status| status == 200, 20)?;

    let mut upstream = tools.command("node");
    upstream.arg(at("demo/upstream.mjs")).arg(ports.upstream.to_string());
    servers.0.push(Server::start("upstream", &mut upstream, plan.log("upstream"))?);
    servers.wait_ready(loopback(ports.upstream), "/", |status| status == 200, 20)?;

    edge::start(plan, tools, &mut servers)?;
    Ok(servers)
}

fn start_gateway(plan: &Plan, servers: &mut Servers) -> Result<()> {
    let port = plan.ports.gateway;
    let tokens = plan.folder.join("redis-gateway-tokens.toml");
    write_private(&tokens, &plan.gateway_tokens()?)?;
    let mut gateway = Command::new(at("target/debug/portcullis-redis-gateway"));
    gateway
        .args(["--listen", &loopback(port).to_string(), "--tokens-file"])
        .arg(&tokens)
        .env("REDIS_URL", plan.redis_url())
        .env("GATEWAY_TOKENS", format!("operator={}", plan.store_token));
    servers.0.push(Server::start("redis-gateway", &mut gateway, plan.log("redis-gateway"))?);
    servers.wait_ready(loopback(port), "/readyz", |status| status == 200, 20)
}

impl Plan {
    /// The usual, with secrets of its own, under bare workerd.
    pub fn new(folder: PathBuf, ports: [u16; 5], db: Database) -> Self {
        let [edge, gateway, auth, redis, upstream] = ports;
        Self {
            folder,
            ports: Ports { edge, gateway, auth, redis, upstream },
            db,
            store: StoreKind::Redis,
            engine: Engine::Workerd,
            redis_url: None,
            store_token: random_text(),
            edge_token: random_text(),
            auth_token: random_text(),
            introspection_secret: random_text(),
            record_encryption_key: record_encryption_key(),
            master_key: record_encryption_key(),
            password: random_text(),
            vars: Map::new(),
            opaque: false,
            trust: None,
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

    /// The Redis as it may be shown: a URL of somebody's own may hold a password.
    pub fn redis_address(&self) -> String {
        match &self.redis_url {
            Some(_) => "your own".to_owned(),
            None => self.redis_url(),
        }
    }

    /// The documented tokens of edge and auth service, with secrets of this stack.
    fn gateway_tokens(&self) -> Result<String> {
        let example = fs::read_to_string(at("docs/redis-gateway-tokens.toml"))?;
        Ok(example.replace("EDGE_TOKEN", &self.edge_token).replace("AUTH_TOKEN", &self.auth_token))
    }

    pub fn upstream_url(&self) -> String {
        format!("http://{}", loopback(self.ports.upstream))
    }

    /// What a test must know. Of parts that are not ours, what the Worker was told.
    fn facts(&self, only: Option<Part>) -> Result<Map<String, Value>> {
        let facts = json!({
            "edge_url": self.edge_url(),
            "auth_url": self.auth_url(),
            "store_url": self.store_url(),
            "store_token": self.store_token,
            "edge_store_token": self.edge_token,
            "introspection_secret": self.introspection_secret,
            "record_encryption_key": self.record_encryption_key,
            "auth_config": self.auth_config(),
            "database_url": self.database_url(),
            "redis_url": self.redis_url(),
            "upstream_url": self.upstream_url(),
            "user": { "username": USERNAME, "password": self.password },
            "logs": self.folder.join("log"),
        });
        let mut facts = facts.as_object().cloned().unwrap_or_default();
        if only.is_some() {
            let vars = self.edge_vars()?;
            for name in ["AUTH_URL", "STORE_URL", "STORE_TOKEN", "UPSTREAM_URL"] {
                facts.insert(name.to_lowercase(), vars.get(name).cloned().unwrap_or_default());
            }
            facts.remove("redis_url");
        }
        for (new, old) in OLD_NAMES {
            if let Some(value) = facts.get(new).cloned() {
                facts.insert(old.to_owned(), value);
            }
        }
        Ok(facts)
    }

    /// The Worker's variables: wrangler.toml's, then the stack's, then the test's.
    pub fn edge_vars(&self) -> Result<Map<String, Value>> {
        let mut vars = edge::wrangler_toml()?
            .get("vars")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let mut issuers = json!([{
            "issuer": self.edge_url(),
            "audience": AUDIENCE,
            "algorithms": ["EdDSA", "ES256"],
            "jwks_url": format!("{}/.well-known/jwks.json", self.auth_url()),
            "sessions_in_store": true,
            "introspection": {
                "url": format!("{}/oauth/introspect", self.auth_url()),
                "client_id": "edge",
                "client_secret_variable": "INTROSPECTION_SECRET",
                "revocations_in_store": true,
            },
        }]);
        if let (true, Some(issuer)) =
            (self.opaque, issuers.pointer_mut("/0").and_then(Value::as_object_mut))
        {
            issuer.remove("algorithms");
            issuer.remove("jwks_url");
            let introspection = issuer.get_mut("introspection").and_then(Value::as_object_mut);
            introspection.map(|members| members.insert("token_prefix".into(), "pca_".into()));
        }
        vars.extend([
            ("ISSUERS".to_owned(), issuers),
            ("UPSTREAM_URL".to_owned(), self.upstream_url().into()),
            ("AUTH_URL".to_owned(), self.auth_url().into()),
            ("STORE_URL".to_owned(), self.store_url().into()),
            ("STORE_TOKEN".to_owned(), self.edge_token.clone().into()),
            ("INTROSPECTION_SECRET".to_owned(), self.introspection_secret.clone().into()),
            ("RECORD_ENCRYPTION_KEY".to_owned(), self.record_encryption_key.clone().into()),
        ]);
        if self.store == StoreKind::Memcached {
            without_scripts(&mut vars);
        }
        vars.extend(self.vars.clone());
        Ok(vars)
    }

    fn database_url(&self) -> String {
        match self.db {
            Database::Postgres => postgres::url(&postgres::folder()),
            Database::Sqlite => format!("sqlite://{}", self.folder.join("auth.db").display()),
        }
    }

    /// The auth service's settings, for its server and for its commands alike.
    pub fn auth_config(&self) -> PathBuf {
        self.folder.join("auth.toml")
    }

    fn auth_settings(&self) -> Result<String> {
        let settings = json!({
            "AUTH_LISTEN": loopback(self.ports.auth).to_string(),
            "DATABASE_URL": self.database_url(),
            "ISSUER": self.edge_url(),
            "AUDIENCE": AUDIENCE,
            "STORE_URL": self.store_url(),
            "STORE_TOKEN": self.auth_token,
            "RECORD_ENCRYPTION_KEY": self.record_encryption_key,
            "MASTER_KEY": self.master_key,
            "INTROSPECTION_CLIENTS": format!("edge={}", self.introspection_secret),
        });
        Ok(toml::to_string(&settings)?)
    }

    fn auth_command(&self) -> Command {
        let mut auth = Command::new(at("target/debug/portcullis-auth"));
        auth.arg("--config").arg(self.auth_config());
        auth
    }
}

/// What a memcached can do of the example.
fn without_scripts(vars: &mut Map<String, Value>) {
    let routes = vars.get_mut("ROUTES").and_then(Value::as_array_mut);
    for route in routes.into_iter().flatten() {
        if let Some(limit) = route.get_mut("limit").and_then(Value::as_object_mut) {
            limit.insert("algorithm".to_owned(), "fixed_window".into());
        }
    }
    let issuers = vars.get_mut("ISSUERS").and_then(Value::as_array_mut);
    for issuer in issuers.into_iter().flatten().filter_map(Value::as_object_mut) {
        issuer.remove("sessions_in_store");
    }
}

/// Makes the demo user; one that is there already stays.
fn add_user(plan: &Plan) -> Result<()> {
    let mut command = plan.auth_command();
    command.args(["user", "add", "--username", USERNAME, "--scope", "api:read api:write"]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().context("can't start the auth service")?;
    if let Some(mut stdin) = child.stdin.take() {
        std::io::Write::write_all(&mut stdin, plan.password.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() && !text.contains("exists already") {
        bail!("the demo user can't be added:\n{text}");
    }
    Ok(())
}

pub fn free_ports<const N: usize>() -> Result<[u16; N]> {
    // All are held until all are known, so that no two are the same.
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        *port = listener.local_addr()?.port();
        held.push(listener);
    }
    Ok(ports)
}

pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// 192 random bits in hex.
pub fn random_text() -> String {
    let mut bytes = [0; 24];
    let read = fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    assert!(read.is_ok(), "/dev/urandom can't be read");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key to seal with: base64 whose digits are hexadecimal, of which 42 are left to chance.
pub fn record_encryption_key() -> String {
    format!("stack:{}0", random_text().get(..42).unwrap_or_default())
}

pub const USERNAME: &str = "demo";
const AUDIENCE: &str = "https://api.example";

/// Members of the JSON file that were renamed, each with its old name, which stays beside the new one.
const OLD_NAMES: [(&str, &str); 5] = [
    ("auth", "origin"),
    ("auth_config", "origin_config"),
    ("auth_url", "origin_url"),
    ("record_encryption_key", "seal_key"),
    ("redis-gateway", "gateway"),
];
