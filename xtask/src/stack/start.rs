//! Starts a stack: all processes at once as far as possible, then a check that each responds.

use super::local::loopback;
use super::plan::{
    Database, OPERATOR, OPERATOR_SCOPE, Plan, StoreKind, USERNAME, VIEWER, VIEWER_SCOPE,
};
use super::worker;
use crate::postgres;
use crate::process::{Server, Servers, write_private};
use crate::tools::Tools;
use crate::workspace::at;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

/// Starts every part, and returns when all respond.
pub fn start(plan: &Plan, tools: &Tools) -> Result<Servers> {
    // The Worker takes the longest to start, and needs the others only for its first request.
    let worker = worker::spawn(plan, tools)?;
    let mut servers = start_backends(plan, tools)?;
    // The Worker is stopped first, because it uses the others.
    servers.0.push(worker);
    worker::wait_ready(plan, &mut servers)?;
    Ok(servers)
}

/// Starts every part except the Worker, and returns when all respond.
pub fn start_backends(plan: &Plan, tools: &Tools) -> Result<Servers> {
    let ports = &plan.ports;
    let mut upstream = tools.command("node");
    upstream.arg(at("demo/upstream.mjs")).arg(ports.upstream.to_string());
    let upstream = Server::start("upstream", &mut upstream, plan.log("upstream"))?;

    let mut servers = Servers::default();
    if plan.db == Database::Postgres {
        postgres::start(&postgres::folder(), |name| plan.log(name), &mut servers)?;
    }
    start_store(plan, &mut servers)?;
    start_auth(plan, &mut servers)?;
    servers.0.push(upstream);

    let ok = |status| status == 200;
    servers.wait_ready_named("auth", loopback(ports.auth_admin), "/readyz", ok, 20)?;
    servers.wait_ready_named("upstream", loopback(ports.upstream), "/", ok, 20)?;
    Ok(servers)
}

/// Starts only the Worker, and returns when it responds.
pub fn start_worker(plan: &Plan, tools: &Tools) -> Result<Servers> {
    let mut servers = Servers(vec![worker::spawn(plan, tools)?]);
    worker::wait_ready(plan, &mut servers)?;
    Ok(servers)
}

fn start_store(plan: &Plan, servers: &mut Servers) -> Result<()> {
    let port = plan.ports.redis.to_string();
    if plan.store == StoreKind::Memcached {
        let mut memcached = Command::new("memcached");
        memcached.args(["-l", "127.0.0.1", "-p", &port, "-U", "0", "-m", "64"]);
        // As root, memcached requires the name of another user to run as.
        memcached.args(["-u", "nobody"]);
        servers.0.push(Server::start("memcached", &mut memcached, plan.log("memcached"))?);
        return Ok(());
    }
    if plan.redis_url.is_none() {
        let data = plan.folder.join("redis");
        fs::create_dir_all(&data)?;
        let mut redis = Command::new("redis-server");
        redis.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--port", &port]);
        redis.arg("--dir").arg(&data);
        servers.0.push(Server::start("redis", &mut redis, plan.log("redis"))?);
    }
    let tokens = plan.folder.join("redis-gateway-tokens.toml");
    write_private(&tokens, &plan.gateway_tokens()?)?;
    let mut gateway = Command::new(at("target/debug/portcullis-redis-gateway"));
    gateway
        .args(["--listen", &loopback(plan.ports.gateway).to_string()])
        .args(["--admin-listen", &loopback(plan.ports.gateway_admin).to_string()])
        .arg("--tokens-file")
        .arg(&tokens)
        .env("REDIS_URL", plan.redis_url())
        .env("GATEWAY_TOKENS", format!("operator={}", plan.store_token));
    servers.0.push(Server::start("redis-gateway", &mut gateway, plan.log("redis-gateway"))?);
    let address = loopback(plan.ports.gateway_admin);
    servers.wait_ready(address, "/readyz", |status| status == 200, 20)
}

fn start_auth(plan: &Plan, servers: &mut Servers) -> Result<()> {
    write_private(&plan.auth_config(), &plan.auth_settings()?)?;
    for (path, secret) in plan.auth_secrets() {
        write_private(&path, &secret)?;
    }
    if plan.db == Database::Postgres {
        let output = auth_command(plan).arg("migrate").output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    add_user(plan, USERNAME, "api:read api:write")?;
    add_user(plan, OPERATOR, OPERATOR_SCOPE)?;
    add_user(plan, VIEWER, VIEWER_SCOPE)?;
    let mut auth = auth_command(plan);
    auth.arg("serve").envs(plan.auth_env.iter().cloned());
    servers.0.push(Server::start("auth", &mut auth, plan.log("auth"))?);
    Ok(())
}

/// Adds a user with the plan's password, unless the database has it already.
fn add_user(plan: &Plan, username: &str, scope: &str) -> Result<()> {
    let mut command = auth_command(plan);
    command.args(["user", "add", "--username", username, "--scope", scope]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("can't start the auth service")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(plan.password.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() && !text.contains("exists already") {
        bail!("the user {username} can't be added:\n{text}");
    }
    Ok(())
}

fn auth_command(plan: &Plan) -> Command {
    let mut auth = Command::new(at("target/debug/portcullis-auth"));
    auth.arg("--config").arg(plan.auth_config());
    auth
}
