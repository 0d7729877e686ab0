//! The Worker in a stack: its configuration, under `wrangler dev` or bare workerd.

use crate::at;
use crate::process::{Server, write_private};
use crate::stack::{Engine, Plan, Servers, loopback};
use crate::tools::Tools;
use anyhow::Result;
use portcullis_core::Policy;
use serde_json::{Map, Value, json};
use std::fs;

/// Starts the Worker under the plan's engine.
pub fn start(plan: &Plan, tools: &Tools, servers: &mut Servers) -> Result<()> {
    let vars = plan.edge_vars()?;
    for fault in config_faults(&vars) {
        eprintln!("the Worker's configuration: {fault}");
    }
    let folder = plan.folder.join("edge");
    fs::create_dir_all(&folder)?;
    let port = plan.ports.edge.to_string();
    let mut command = match plan.engine {
        Engine::Wrangler => {
            let config = folder.join("wrangler.json");
            // wrangler shows plain variables, but not what it reads from here.
            let mut plain = vars.clone();
            let secret = |name: &String| SECRETS.iter().any(|ending| name.ends_with(ending));
            let mut secrets = String::new();
            for (name, value) in vars.iter().filter(|(name, _)| secret(name)) {
                if let Value::String(text) = value {
                    secrets.push_str(&format!("{name}='{text}'\n"));
                    plain.remove(name);
                }
            }
            write_private(&folder.join(".dev.vars"), &secrets)?;
            write_private(&config, &wrangler_config(&plain)?.to_string())?;
            let mut wrangler = tools.command("wrangler");
            wrangler
                .args(["dev", "--ip", "127.0.0.1", "--port", &port, "--inspector-ip", "127.0.0.1"])
                .args(["--inspector-port", "0", "--show-interactive-dev-session=false", "--config"])
                .arg(&config)
                .arg("--persist-to")
                .arg(folder.join("state"))
                .env("WRANGLER_SEND_METRICS", "false")
                .env("WRANGLER_LOG_PATH", folder.join("log"))
                .env("WRANGLER_REGISTRY_PATH", folder.join("registry"));
            wrangler
        }
        Engine::Workerd => {
            let config = folder.join("config.capnp");
            for name in BUNDLE {
                fs::copy(at("build").join(name), folder.join(name))?;
            }
            let trusted = plan.trust.as_ref().map(fs::read_to_string).transpose()?;
            let [script, wasm] = BUNDLE;
            let text = workerd_config(&vars, &[script, wasm], plan.ports.edge, trusted.as_deref())?;
            write_private(&config, &text)?;
            let mut workerd = tools.command("workerd");
            workerd.arg("serve").arg(&config);
            workerd
        }
    };
    servers.0.push(Server::start("edge", &mut command, plan.log("edge"))?);
    servers.wait_ready(loopback(plan.ports.edge), "/", |_| true, 60)
}

/// What the Worker would say of its variables.
pub fn config_faults(vars: &Map<String, Value>) -> Vec<String> {
    let lookup = |name: &str| match vars.get(name)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let faults = Policy::parse(lookup).err().unwrap_or_default();
    faults.iter().map(ToString::to_string).collect()
}

/// What wrangler.toml says.
pub fn wrangler_toml() -> Result<Value> {
    let text = fs::read_to_string(at("wrangler.toml"))?;
    Ok(toml::from_str(&text)?)
}

/// A configuration for `wrangler dev` of the bundle as it is built.
fn wrangler_config(vars: &Map<String, Value>) -> Result<Value> {
    let toml = wrangler_toml()?;
    Ok(json!({
        "name": toml.get("name"),
        "main": at("build/index.js"),
        "compatibility_date": toml.get("compatibility_date"),
        "vars": vars,
    }))
}

/// A configuration for workerd that serves a Worker on one loopback port. Its modules lie beside the configuration, the
/// script first.
pub fn workerd_config(
    vars: &Map<String, Value>,
    modules: &[&str],
    port: u16,
    trusted: Option<&str>,
) -> Result<String> {
    let toml = wrangler_toml()?;
    let trusted: Vec<String> = trusted.map(|text| json!(text).to_string()).into_iter().collect();
    let modules: Vec<String> = modules
        .iter()
        .map(|module| match module.strip_suffix(".wasm") {
            Some(_) => format!("(name = \"./{module}\", wasm = embed \"{module}\")"),
            None => format!("(name = \"{module}\", esModule = embed \"{module}\")"),
        })
        .collect();
    let bindings: Vec<String> = vars
        .iter()
        .map(|(name, value)| {
            let (kind, text) = match value {
                Value::String(text) => ("text", text.clone()),
                other => ("json", other.to_string()),
            };
            format!("(name = {}, {kind} = {})", json!(name), json!(text))
        })
        .collect();
    Ok(format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\n\
         const config :Workerd.Config = (\n\
           services = [\n\
             (name = \"main\", worker = (\n\
               modules = [{}],\n\
               compatibilityDate = {},\n\
               bindings = [{}],\n\
             )),\n\
             (name = \"internet\", network = (allow = [\"public\", \"private\"],\n\
               tlsOptions = (trustBrowserCas = true, trustedCertificates = [{}]))),\n\
           ],\n\
           sockets = [(name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"main\")],\n\
         );\n",
        modules.join(", "),
        json!(toml.get("compatibility_date")),
        bindings.join(", "),
        trusted.join(", "),
    ))
}

/// The Worker's modules, the script first.
pub const BUNDLE: [&str; 2] = ["index.js", "index_bg.wasm"];

/// How the names of variables end that nobody should see.
const SECRETS: [&str; 3] = ["_KEY", "_SECRET", "_TOKEN"];
