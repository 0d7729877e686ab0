//! Runs the system for a developer: fixed ports, persistent state, and commands to paste.

use crate::edge::EdgeConfig;
use crate::stack::{self, Binaries, Database, Engine, OPERATOR, Plan, USERNAME, VIEWER, loopback};
use crate::tools::Extent;
use crate::workspace::{at, root};
use crate::{policy, process};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The options of `cargo xtask dev`.
#[derive(Args)]
pub struct Options {
    /// Port of the Worker.
    #[arg(long, default_value_t = 8787)]
    port: u16,
    /// Port of the redis gateway.
    #[arg(long, default_value_t = 8379)]
    gateway_port: u16,
    /// Port of the redis gateway's readiness and metrics.
    #[arg(long, default_value_t = 9379)]
    gateway_admin_port: u16,
    /// Port of the auth service's readiness and metrics.
    #[arg(long, default_value_t = 9788)]
    auth_admin_port: u16,
    /// Port of the auth service.
    #[arg(long, default_value_t = 8788)]
    auth_port: u16,
    /// Port of Redis.
    #[arg(long, default_value_t = 8380)]
    redis_port: u16,
    /// The REDIS_URL of your own Redis for the redis gateway; then none is started.
    #[arg(long)]
    redis_url: Option<String>,
    /// Port of the demo API.
    #[arg(long, default_value_t = 8789)]
    upstream_port: u16,
    /// Port of the operator console.
    #[arg(long, default_value_t = 8790)]
    console_port: u16,
    /// The policy file to use instead of portcullis.toml.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// Start everything except the edge, and write .dev.vars, so that `npx wrangler dev` can run
    /// the edge.
    #[arg(long)]
    backends: bool,
    /// Where its files are: state, secrets and logs.
    #[arg(long, default_value = ".dev")]
    folder: PathBuf,
    /// Take what is built as it is.
    #[arg(long)]
    prebuilt: bool,
}

pub fn run(options: &Options) -> Result<()> {
    let begun = Instant::now();
    process::listen()?;
    check_ports(options)?;
    let binaries = if options.prebuilt { Binaries::Prebuilt } else { Binaries::Current };
    let tools = stack::prepare(Extent::Stack, binaries)?;
    let folder = root().join(&options.folder);
    fs::create_dir_all(&folder).with_context(|| format!("can't make {}", folder.display()))?;
    let secrets = secrets(&folder)?;
    let ports = [
        options.port,
        options.gateway_port,
        options.auth_port,
        options.redis_port,
        options.upstream_port,
        options.gateway_admin_port,
        options.auth_admin_port,
        options.console_port,
    ];
    let plan = Plan {
        engine: Engine::Wrangler,
        redis_url: options.redis_url.clone(),
        store_token: secrets.store_token,
        record_encryption_key: secrets.record_encryption_key,
        master_key: secrets.master_key,
        password: secrets.password,
        policy_file: options.policy.clone(),
        ..Plan::new(folder, ports, Database::Sqlite)
    };
    let file = options.policy.clone().unwrap_or_else(policy::file);
    let faults = plan.edge()?.faults();
    if !faults.is_empty() {
        bail!("{}:\n  {}", file.display(), faults.join("\n  "));
    }
    println!("{}", replaced(&plan)?);
    let mut servers = match options.backends {
        true => {
            write_dev_vars(&plan)?;
            stack::start_backends(&plan, &tools)?
        }
        false => stack::start(&plan, &tools)?,
    };
    println!("{}", welcome(&plan, begun.elapsed()));
    if options.backends {
        println!("{NEXT_STEP}");
    }
    let mut watched = Watched::new(file)?;
    while !process::is_stopping() {
        for server in &mut servers.0 {
            if let Some(status) = server.ended() {
                bail!("{}", server.obituary(status));
            }
        }
        if !options.backends {
            watched.reload(&plan);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    eprintln!("stopping");
    Ok(())
}

/// The policy file while the system runs.
struct Watched {
    file: PathBuf,
    text: String,
    sections: Map<String, Value>,
}

impl Watched {
    fn new(file: PathBuf) -> Result<Self> {
        let (text, sections) = (fs::read_to_string(&file)?, policy::read(&file)?);
        Ok(Self { file, text, sections })
    }

    /// Passes the file to the edge if it has changed and is valid. Prints the changes, or the
    /// errors.
    fn reload(&mut self, plan: &Plan) {
        // An editor may replace the file, so that it is missing for a moment.
        let Ok(text) = fs::read_to_string(&self.file) else {
            return;
        };
        if text == self.text {
            return;
        }
        self.text = text;
        if let Err(error) = self.apply(plan) {
            eprintln!("the edge keeps the policy that it has: {error:#}");
        }
    }

    fn apply(&mut self, plan: &Plan) -> Result<()> {
        let sections = policy::read(&self.file)?;
        let faults = plan.edge()?.faults();
        if !faults.is_empty() {
            bail!("{} is invalid:\n  {}", self.file.display(), faults.join("\n  "));
        }
        let changes = policy::changes(&self.sections, &sections);
        stack::write_policy(plan)?;
        self.sections = sections;
        println!("the policy has changed:\n  {}", changes.join("\n  "));
        Ok(())
    }
}

/// Returns what the bundled parts replace: variables and secrets, but no member of the policy.
fn replaced(plan: &Plan) -> Result<String> {
    let shipped = EdgeConfig::shipped()?.vars;
    let mut lines =
        String::from("The policy is used as it is. These variables name the bundled parts:\n");
    for (name, value) in plan.edge_vars() {
        match (shipped.get(&name), value.as_str()) {
            (Some(old), Some(new)) => {
                lines.push_str(&format!(
                    "  {name} = {new} (wrangler.toml: {})\n",
                    old.as_str().unwrap_or_default()
                ));
            }
            _ => lines
                .push_str(&format!("  {name} = a secret of secrets.json below, or of this run\n")),
        }
    }
    Ok(lines)
}

/// Writes the variables and secrets where plain `wrangler dev` reads them.
fn write_dev_vars(plan: &Plan) -> Result<()> {
    let mut text = String::new();
    for (name, value) in plan.edge_vars() {
        text.push_str(&format!("{name}='{}'\n", value.as_str().unwrap_or_default()));
    }
    process::write_private(&at(".dev.vars"), &text)
}

const NEXT_STEP: &str = "Now run the edge in another terminal: npx wrangler dev";

/// Returns an error that names every occupied port, with the flag that changes it.
fn check_ports(options: &Options) -> Result<()> {
    let wanted = [
        ("--port", options.port),
        ("--gateway-port", options.gateway_port),
        ("--gateway-admin-port", options.gateway_admin_port),
        ("--auth-port", options.auth_port),
        ("--auth-admin-port", options.auth_admin_port),
        ("--redis-port", options.redis_port),
        ("--upstream-port", options.upstream_port),
        ("--console-port", options.console_port),
    ];
    let taken: Vec<String> = wanted
        .iter()
        .filter(|(flag, _)| options.redis_url.is_none() || *flag != "--redis-port")
        .filter(|(_, port)| TcpListener::bind(loopback(*port)).is_err())
        .map(|(flag, port)| format!("  port {port} is taken; choose another with {flag}"))
        .collect();
    if taken.is_empty() { Ok(()) } else { bail!("can't start:\n{}", taken.join("\n")) }
}

struct Secrets {
    store_token: String,
    record_encryption_key: String,
    master_key: String,
    password: String,
}

/// Returns the secrets of this folder's system. Generates them the first time.
fn secrets(folder: &Path) -> Result<Secrets> {
    let file = folder.join("secrets.json");
    let held: Value = fs::read_to_string(&file)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default();
    let text = |name: &str| held.get(name).and_then(Value::as_str).map(str::to_owned);
    let names = ["store_token", "record_encryption_key", "master_key", "password"];
    if let [Some(store_token), Some(record_encryption_key), Some(master_key), Some(password)] =
        names.map(text)
    {
        return Ok(Secrets { store_token, record_encryption_key, master_key, password });
    }
    // The database has a user with the old password, and keys encrypted with the old master key.
    for name in ["auth.db", "auth.db-wal", "auth.db-shm"] {
        let _ = fs::remove_file(folder.join(name));
    }
    let secrets = Secrets {
        store_token: stack::random_text(),
        record_encryption_key: stack::record_encryption_key(),
        master_key: stack::record_encryption_key(),
        password: stack::random_text(),
    };
    let text = json!({
        "store_token": secrets.store_token,
        "record_encryption_key": secrets.record_encryption_key,
        "master_key": secrets.master_key,
        "password": secrets.password,
    });
    process::write_atomically(&file, &text.to_string())?;
    Ok(secrets)
}

fn welcome(plan: &Plan, elapsed: Duration) -> String {
    let (edge, password) = (plan.edge_url(), &plan.password);
    format!(
        r#"
Portcullis is up after {seconds:.1} s. Ctrl-C stops it.

  edge      {edge}
  auth      {auth} (metrics at {auth_admin}/metrics)
  console   {console} (as {OPERATOR}, or {VIEWER} who may only look, with the password {password})
  redis gw  {gateway} (metrics at {gateway_admin}/metrics)
  redis     {redis}
  upstream  {upstream}
  files     {folder}
  logs      {folder}/log (the edge's: {log})

Paste, in another terminal:

  # Refused, accepted, and over a limit of 5 a minute:
  curl -i -w '\n' {edge}/api/hello
  PAIR=$(curl -s {edge}/auth/login -H 'content-type: application/json' \
    -d '{{"username":"{USERNAME}","password":"{password}"}}'); echo "$PAIR"
  TOKEN=$(echo "$PAIR" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  REFRESH=$(echo "$PAIR" | sed 's/.*"refresh_token":"\([^"]*\)".*/\1/')
  curl -i -w '\n' {edge}/api/hello -H "authorization: Bearer $TOKEN"
  for call in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%{{http_code}}\n' {edge}/api/limited \
    -H "authorization: Bearer $TOKEN"; done
  # A new pair, and the user's sessions:
  curl -i -w '\n' {edge}/auth/refresh -H 'content-type: application/json' -d "{{\"refresh_token\":\"$REFRESH\"}}"
  curl -i -w '\n' {edge}/auth/sessions -H "authorization: Bearer $TOKEN"
  target/debug/portcullis-auth --config {config} sessions list --username {USERNAME}
  # The same token is refused right after the logout, and the log says why:
  curl -i -w '\n' -X POST {edge}/auth/logout -H "authorization: Bearer $TOKEN"
  curl -i -w '\n' {edge}/api/hello -H "authorization: Bearer $TOKEN"
  grep token_revoked {log} | tail -n 1
"#,
        seconds = elapsed.as_secs_f32(),
        auth = plan.auth_url(),
        auth_admin = plan.auth_admin_url(),
        console = plan.console_url(),
        gateway = plan.store_url(),
        gateway_admin = plan.gateway_admin_url(),
        redis = plan.redis_address(),
        upstream = plan.upstream_url(),
        config = plan.auth_config().display(),
        folder = plan.folder.display(),
        log = plan.log("edge").display(),
    )
}
