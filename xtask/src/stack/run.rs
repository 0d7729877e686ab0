//! `cargo xtask stack`: a stack for a test, until it is stopped.

use super::build::{Binaries, prepare};
use super::facts::{Part, facts, pids};
use super::local::{edge_auth_key, record_encryption_key};
use super::plan::{Database, Engine, Plan, StoreKind};
use super::start::{start, start_worker};
use crate::postgres;
use crate::process::{self, Servers, is_stopping, write_atomically};
use crate::tools::{Extent, Tools};
use crate::workspace::at;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Map, Value};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The options of `cargo xtask stack`.
#[derive(Args)]
pub struct Options {
    /// The file to write, atomically, when every part responds.
    #[arg(long)]
    json: PathBuf,
    /// The auth service's database.
    #[arg(long, default_value = "sqlite")]
    db: Database,
    /// A file with a JSON object: sections of the policy file, merged member by member, and
    /// variables.
    #[arg(long)]
    vars: Option<PathBuf>,
    /// The store of tokens and limits.
    #[arg(long, default_value = "redis")]
    store: StoreKind,
    /// A policy file instead of portcullis.toml.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// A certificate (PEM) that workerd trusts in addition to those of browsers.
    #[arg(long)]
    trust: Option<PathBuf>,
    /// NAME=VALUE for the auth service's environment; may be repeated.
    #[arg(long)]
    auth_env: Vec<String>,
    /// Let the auth service issue opaque access tokens instead of JWTs, and the edge accept them.
    #[arg(long)]
    opaque: bool,
    /// Start only one part.
    #[arg(long)]
    only: Option<Part>,
    /// The runtime of the Worker.
    #[arg(long, default_value = "wrangler")]
    engine: Engine,
    /// The most megabytes of the Worker's V8 heap under workerd, so that garbage is collected
    /// early.
    #[arg(long)]
    heap_mb: Option<u32>,
    /// The REDIS_URL of an existing Redis for the redis gateway; then none is started.
    #[arg(long)]
    redis_url: Option<String>,
    /// Also stop when standard input ends, so that the stack does not outlive a test.
    #[arg(long)]
    watch_stdin: bool,
    /// Use the existing binaries without building.
    #[arg(long)]
    prebuilt: bool,
}

/// Runs a stack until SIGINT, SIGTERM or, with `--watch-stdin`, the end of standard input.
pub fn run(options: &Options) -> Result<()> {
    process::listen()?;
    if options.watch_stdin {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            process::stop();
        });
    }
    // A test that waits for the file must not find an older one.
    let _ = fs::remove_file(&options.json);
    if options.store == StoreKind::Memcached && options.redis_url.is_some() {
        bail!("--redis-url needs --store redis; remove one of them");
    }
    let extent = match (options.db, options.store) {
        (Database::Postgres, _) => Extent::StackOnPostgres,
        (Database::Sqlite, StoreKind::Memcached) => Extent::StackOnMemcached,
        (Database::Sqlite, StoreKind::Redis) => Extent::Stack,
    };
    let binaries = if options.prebuilt { Binaries::Prebuilt } else { Binaries::Current };
    let tools = prepare(extent, binaries)?;
    let folder = at("target/stack").join(std::process::id().to_string());
    let plan = plan(options, &folder)?;
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    let outcome = serve(options, &plan, &tools);
    let _ = fs::remove_file(&options.json);
    let _ = fs::remove_dir_all(postgres::folder());
    // After a failure, the logs are kept.
    if is_stopping() {
        let _ = fs::remove_dir_all(&folder);
        return Ok(());
    }
    outcome
}

fn plan(options: &Options, folder: &Path) -> Result<Plan> {
    let vars = options.vars.as_deref().map(read_vars).transpose()?.unwrap_or_default();
    let auth_env = options.auth_env.iter().map(|pair| {
        let (name, value) = pair.split_once('=').context("--auth-env: must be NAME=VALUE")?;
        Ok((name.to_owned(), value.to_owned()))
    });
    let auth_env = auth_env.collect::<Result<_>>()?;
    // The auth service decrypts the edge's records, and verifies its statements.
    let key = |name: &str, random: fn() -> String| {
        vars.get(name).and_then(Value::as_str).map_or_else(random, str::to_owned)
    };
    let record_encryption_key = key("RECORD_ENCRYPTION_KEY", record_encryption_key);
    let edge_auth_key = key("EDGE_AUTH_KEY", edge_auth_key);
    Ok(Plan {
        store: options.store,
        engine: options.engine,
        redis_url: options.redis_url.clone(),
        policy_file: options.policy.clone(),
        record_encryption_key,
        edge_auth_key,
        vars,
        opaque: options.opaque,
        trust: options.trust.clone(),
        heap_mb: options.heap_mb,
        auth_env,
        ..Plan::new(folder.to_owned(), xtask_ports::free_ports()?, options.db)
    })
}

fn read_vars(file: &Path) -> Result<Map<String, Value>> {
    let context = || format!("--vars {}", file.display());
    let text = fs::read_to_string(file).with_context(context)?;
    let vars: Value = serde_json::from_str(&text).with_context(context)?;
    vars.as_object().cloned().context("--vars: the file must contain a JSON object")
}

/// Starts the stack, writes its facts, and waits for the request to stop.
fn serve(options: &Options, plan: &Plan, tools: &Tools) -> Result<()> {
    let mut servers = match options.only {
        Some(Part::Edge) => start_worker(plan, tools)?,
        None => start(plan, tools)?,
    };
    let mut facts = facts(plan, options.only)?;
    facts.insert("pids".into(), pids(&servers));
    write_atomically(&options.json, &Value::Object(facts).to_string())?;
    eprintln!("ready: {}", options.json.display());
    report_ends(&mut servers);
    Ok(())
}

/// Reports each server that ends, once, until the request to stop. A test may kill a part on
/// purpose, so that does not end the stack.
fn report_ends(servers: &mut Servers) {
    let mut reported = Vec::new();
    while !is_stopping() {
        for server in &mut servers.0 {
            if let (Some(status), false) = (server.ended(), reported.contains(&server.name)) {
                eprintln!("{}", server.obituary(status));
                reported.push(server.name);
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
