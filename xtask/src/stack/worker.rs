//! The Worker in a stack, under `wrangler dev` or bare workerd.

use super::local::loopback;
use super::plan::{Engine, Plan};
use crate::edge::{BUNDLE, MODULES, workerd_config, wrangler_config};
use crate::policy;
use crate::process::{Server, Servers, write_private};
use crate::tools::Tools;
use crate::workspace::at;
use anyhow::Result;
use serde_json::{Map, Value};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Starts the Worker under the plan's engine.
pub fn spawn(plan: &Plan, tools: &Tools) -> Result<Server> {
    let edge = plan.edge()?;
    for fault in edge.faults() {
        eprintln!("the Worker's configuration: {fault}");
    }
    for warning in edge.warnings() {
        eprintln!("warning: the Worker's configuration: {warning}");
    }
    let folder = plan.folder.join(NAME);
    fs::create_dir_all(&folder)?;
    for name in BUNDLE {
        fs::copy(at("build").join(name), folder.join(name))?;
    }
    write_policy(plan)?;
    let vars = &edge.vars;
    let mut command = match plan.engine {
        Engine::Wrangler => wrangler(plan, tools, &folder, vars)?,
        Engine::Workerd => workerd(plan, tools, &folder, vars)?,
    };
    Server::start(NAME, &mut command, plan.log(NAME))
}

/// Writes the policy to the place where the Worker reads it. `wrangler dev` then restarts the
/// Worker.
pub fn write_policy(plan: &Plan) -> Result<()> {
    let module = policy::module(&plan.edge()?.policy);
    Ok(fs::write(plan.folder.join(NAME).join(policy::MODULE), module)?)
}

/// Waits until the Worker responds. Its dependencies must respond before, because its first request
/// may fetch key sets, and a failure would be remembered.
pub fn wait_ready(plan: &Plan, servers: &mut Servers) -> Result<()> {
    servers.wait_ready_named(NAME, loopback(plan.ports.edge), "/", |_| true, 60)
}

fn wrangler(
    plan: &Plan,
    tools: &Tools,
    folder: &Path,
    vars: &Map<String, Value>,
) -> Result<Command> {
    let config = folder.join("wrangler.json");
    // wrangler prints plain variables, but not the variables that it reads from this file.
    let mut plain = vars.clone();
    let is_secret = |name: &String| SECRETS.iter().any(|ending| name.ends_with(ending));
    let mut secrets = String::new();
    for (name, value) in vars.iter().filter(|(name, _)| is_secret(name)) {
        if let Value::String(text) = value {
            secrets.push_str(&format!("{name}='{text}'\n"));
            plain.remove(name);
        }
    }
    write_private(&folder.join(".dev.vars"), &secrets)?;
    write_private(&config, &wrangler_config(&plain)?.to_string())?;
    let port = plan.ports.edge.to_string();
    let mut wrangler = tools.command("wrangler");
    wrangler
        .args(["dev", "--ip", "127.0.0.1", "--port", &port, "--inspector-ip", "127.0.0.1"])
        .args(["--inspector-port", "0", "--show-interactive-dev-session=false", "--config"])
        .arg(&config)
        .arg("--persist-to")
        .arg(folder.join("state"))
        // These settings keep it from waiting for servers on the internet: for a newer wrangler, or
        // for a `request.cf`.
        .env("WRANGLER_HIDE_BANNER", "true")
        .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
        // This saves a quarter of a second when reading wrangler's scripts.
        .env("NODE_COMPILE_CACHE", at("target/node-cache"))
        .env("WRANGLER_SEND_METRICS", "false")
        .env("WRANGLER_LOG_PATH", folder.join("log"))
        .env("WRANGLER_REGISTRY_PATH", folder.join("registry"));
    Ok(wrangler)
}

fn workerd(
    plan: &Plan,
    tools: &Tools,
    folder: &Path,
    vars: &Map<String, Value>,
) -> Result<Command> {
    let config = folder.join("config.capnp");
    let trusted = plan.trust.as_ref().map(fs::read_to_string).transpose()?;
    let text = workerd_config(vars, &MODULES, plan.ports.edge, trusted.as_deref(), plan.heap_mb)?;
    write_private(&config, &text)?;
    let mut workerd = tools.command("workerd");
    workerd.arg("serve").arg(&config);
    Ok(workerd)
}

const NAME: &str = "edge";

/// The endings of the names of secret variables.
const SECRETS: [&str; 3] = ["_KEY", "_SECRET", "_TOKEN"];
