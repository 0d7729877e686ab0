//! The Worker's configuration: its variables, and how `wrangler dev` or bare workerd gets them.

use crate::workspace::at;
use anyhow::Result;
use portcullis_core::{ConfigError, Policy};
use serde_json::{Map, Value, json};
use std::fs;

/// Returns what the Worker would report of its variables.
pub fn config_faults(vars: &Map<String, Value>) -> Vec<String> {
    let faults = parse(vars).err().unwrap_or_default();
    faults.iter().map(ToString::to_string).collect()
}

/// Returns what the Worker would warn of.
pub fn config_warnings(vars: &Map<String, Value>) -> Vec<String> {
    let warnings = parse(vars).map(|policy| policy.warnings).unwrap_or_default();
    warnings.iter().map(ToString::to_string).collect()
}

fn parse(vars: &Map<String, Value>) -> std::result::Result<Policy, Vec<ConfigError>> {
    let names: Vec<String> = vars.keys().cloned().collect();
    Policy::parse_named(&names, |name| match vars.get(name)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    })
}

/// Returns wrangler.toml.
pub fn wrangler_toml() -> Result<Value> {
    let text = fs::read_to_string(at("wrangler.toml"))?;
    Ok(toml::from_str(&text)?)
}

/// Returns a configuration for `wrangler dev` of the bundle as it is built.
pub fn wrangler_config(vars: &Map<String, Value>) -> Result<Value> {
    let toml = wrangler_toml()?;
    Ok(json!({
        "name": toml.get("name"),
        "main": at("build/index.js"),
        "compatibility_date": toml.get("compatibility_date"),
        "compatibility_flags": toml.get("compatibility_flags"),
        "vars": vars,
    }))
}

/// Returns a configuration for workerd that serves a Worker on one loopback port. The modules lie in
/// the configuration's folder; the script is the first. V8's heap grows to `heap_mb` at most, or to
/// the runtime's own limit.
pub fn workerd_config(
    vars: &Map<String, Value>,
    modules: &[&str],
    port: u16,
    trusted: Option<&str>,
    heap_mb: Option<u32>,
) -> Result<String> {
    let toml = wrangler_toml()?;
    let flags: Vec<String> =
        heap_mb.map(|mb| format!("\"--max-heap-size={mb}\"")).into_iter().collect();
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
               compatibilityFlags = {},\n\
               bindings = [{}],\n\
             )),\n\
             (name = \"internet\", network = (allow = [\"public\", \"private\"],\n\
               tlsOptions = (trustBrowserCas = true, trustedCertificates = [{}]))),\n\
           ],\n\
           sockets = [(name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"main\")],\n\
           v8Flags = [{}],\n\
         );\n",
        modules.join(", "),
        json!(toml.get("compatibility_date")),
        json!(toml.get("compatibility_flags")),
        bindings.join(", "),
        trusted.join(", "),
        flags.join(", "),
    ))
}

/// The Worker's modules, the script first.
pub const BUNDLE: [&str; 2] = ["index.js", "index_bg.wasm"];
