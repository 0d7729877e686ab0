//! The Worker's configuration: its policy and variables, and the way in which `wrangler dev` or
//! bare workerd receives them.

use crate::policy;
use crate::wrangler_toml::wrangler_toml;
use anyhow::{Result, bail};
use portcullis_core::{ConfigError, Policy, merge_sections};
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The configuration of a Worker.
#[derive(Clone, Debug, Default)]
pub struct EdgeConfig {
    /// The sections of the policy file.
    pub policy: Map<String, Value>,
    /// The variables and secrets.
    pub vars: Map<String, Value>,
}

impl EdgeConfig {
    /// Returns the policy of this workspace, with the variables of wrangler.toml.
    pub fn shipped() -> Result<Self> {
        let vars = wrangler_toml()?.get("vars").and_then(Value::as_object).cloned();
        Ok(Self { policy: policy::read(&policy::file())?, vars: vars.unwrap_or_default() })
    }

    /// Overlays members on the configuration. Names in lower case are sections of the policy, whose
    /// tables are merged member by member. A name with a dot, such as `store.url`, is one member of
    /// a section. All other names are variables.
    pub fn lay_over(&mut self, members: &Map<String, Value>) {
        for (name, value) in members {
            if name.starts_with(|first: char| first.is_ascii_lowercase()) {
                let (section, change) = match name.split_once('.') {
                    None => (name.as_str(), value.clone()),
                    Some((section, member)) => (section, json!({ member: value })),
                };
                let change = Map::from_iter([(section.to_owned(), change)]);
                merge_sections(&mut self.policy, &change);
            } else {
                self.vars.insert(name.clone(), value.clone());
            }
        }
    }

    /// Returns the `url` of a section, as the Worker resolves it.
    pub fn url(&self, section: &str) -> Option<String> {
        let text = self.policy.get(section)?.get("url")?.as_str()?;
        let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        name.map_or(Some(text.to_owned()), |name| policy::text(self.vars.get(name)?))
    }

    /// Returns the errors that the Worker would report about the configuration.
    pub fn faults(&self) -> Vec<String> {
        let faults = self.parse().err().unwrap_or_default();
        faults.iter().map(portcullis_policy::message).collect()
    }

    /// Returns the warnings that the Worker would log.
    pub fn warnings(&self) -> Vec<String> {
        let text = |policy: Policy| policy.open_warnings().map(ToString::to_string).collect();
        self.parse().map(text).unwrap_or_default()
    }

    fn parse(&self) -> std::result::Result<Policy, Vec<ConfigError>> {
        let names: Vec<String> = self.vars.keys().cloned().collect();
        let document = Value::Object(self.policy.clone()).to_string();
        Policy::parse_named(&document, &names, |name| policy::text(self.vars.get(name)?))
    }
}

/// Returns a configuration for `wrangler dev` of the modules in the configuration's folder.
pub fn wrangler_config(vars: &Map<String, Value>) -> Result<Value> {
    let toml = wrangler_toml()?;
    Ok(json!({
        "name": toml.get("name"),
        "main": "index.js",
        "compatibility_date": toml.get("compatibility_date"),
        "compatibility_flags": toml.get("compatibility_flags"),
        "vars": vars,
    }))
}

/// Returns a configuration for workerd that serves a Worker on one loopback port. The modules are
/// in the configuration's folder; the script is the first. V8's heap grows to `heap_mb` at most, or
/// to the runtime's own limit.
pub fn workerd_config(
    vars: &Map<String, Value>,
    modules: &[&str],
    port: u16,
    trusted: Option<&str>,
    heap_mb: Option<u32>,
) -> Result<String> {
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
    config_text(modules, &bindings, &format!("127.0.0.1:{port}"), trusted, heap_mb)
}

/// Returns a configuration for workerd in a container, with the modules in its folder. Each
/// variable and secret that the policy may read comes from workerd's environment. An invalid policy
/// is an error.
pub fn image_config(policy: &Map<String, Value>) -> Result<String> {
    let bindings: Vec<String> = variables(policy)?
        .iter()
        .map(|name| format!("(name = {0}, fromEnvironment = {0})", json!(name)))
        .collect();
    config_text(&MODULES, &bindings, &format!("*:{IMAGE_PORT}"), None, Some(IMAGE_HEAP_MB))
}

/// Returns the names of all variables and secrets that a policy reads, as it is and in each of its
/// environments. Returns all errors of the policy if it has some.
fn variables(policy: &Map<String, Value>) -> Result<BTreeSet<String>> {
    let names = RefCell::new(BTreeSet::new());
    let document = Value::Object(policy.clone()).to_string();
    let environments = policy.get("env").and_then(Value::as_object);
    let environments = environments.into_iter().flat_map(Map::keys).map(Some);
    for environment in std::iter::once(None).chain(environments) {
        let policy = Policy::assume(&document, |name| {
            names.borrow_mut().insert(name.to_owned());
            environment.filter(|_| name == "PORTCULLIS_ENV").cloned()
        });
        if let Err(errors) = policy {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            bail!("the policy is invalid:\n  {}", errors.join("\n  "));
        }
    }
    Ok(names.into_inner())
}

fn config_text(
    modules: &[&str],
    bindings: &[String],
    address: &str,
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
           sockets = [(name = \"http\", address = {}, http = (), service = \"main\")],\n\
           v8Flags = [{}],\n\
         );\n",
        modules.join(", "),
        json!(toml.get("compatibility_date")),
        json!(toml.get("compatibility_flags")),
        bindings.join(", "),
        trusted.join(", "),
        json!(address),
        flags.join(", "),
    ))
}

/// The Worker's modules as built, the script first.
pub const BUNDLE: [&str; 2] = ["index.js", "index_bg.wasm"];

/// The Worker's modules as run.
pub const MODULES: [&str; 3] = ["index.js", "index_bg.wasm", policy::MODULE];

/// The port of the edge in its image.
const IMAGE_PORT: u16 = 8787;
/// The heap of the edge in its image: the memory that Cloudflare allows a Worker. Without a bound,
/// V8 takes more memory before it collects garbage.
const IMAGE_HEAP_MB: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_reads_what_the_policy_and_its_environments_name() {
        let policy = r#"
            store = { url = "${STORE_URL}" }
            upstream = { url = "https://upstream.example" }
            issuers = [{ issuer = "https://issuer.example", audience = "a", introspection = {
              url = "https://issuer.example/i", client_id = "e", client_secret_variable = "S" } }]
            routes = [{ name = "r", path = "/r", access = "protected" }]
            [env.staging.upstream]
            url = "${STAGING_URL}"
        "#;
        let mut policy: Map<String, Value> = toml::from_str(policy).unwrap();
        let names = variables(&policy).unwrap();
        for name in ["PORTCULLIS_ENV", "S", "STAGING_URL", "STORE_TOKEN", "STORE_URL"] {
            assert!(names.contains(name), "{name}: {names:?}");
        }
        let config = image_config(&policy).unwrap();
        assert!(config.contains(r#"(name = "S", fromEnvironment = "S")"#), "{config}");
        assert!(!config.contains("upstream.example"), "{config}");
        policy["env"]["staging"]["upstream"]["url"] = "no URL".into();
        let error = image_config(&policy).unwrap_err().to_string();
        assert!(error.contains("upstream.url"), "{error}");
    }
}
