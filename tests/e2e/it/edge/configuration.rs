//! Invalid configuration, as an operator sees it.

use crate::support::environment::xtask;
use crate::support::http::{assert_refused, get};
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::stack::{Stack, stop};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[tokio::test]
async fn invalid_configuration_rejects_requests_and_lists_every_error() {
    let vars = json!({ "store.url": "redis.example", "store.timeout_ms": "soon", "routes": [],
        "revocation.delay_second_max": 5, "upstream.url": "${API_URL}", "STORE_TOKN": "5",
        "UNRELATED": "x", "client_address.trusted_proxy_hops": 99, "logging.server_timing": true, "metrics.interval_seconds": true });
    let edge = tokio::task::spawn_blocking(|| Stack::start(&["--only", "edge"], Some(vars)))
        .await
        .unwrap();
    for path in ["/public/x", "/api/hello", "/auth/login"] {
        assert_refused(get(&edge.edge(path)).send().await.unwrap(), 503, "configuration_invalid")
            .await;
    }
    let log = edge.log("edge");
    let line = log.lines().find(|line| line.contains("configuration_invalid")).unwrap_or_default();
    for log in [line, &edge.own_log()] {
        for name in [
            "store.url: is not a URL",
            "store.timeout_ms: must be a whole number, 1 to 60000",
            "routes: is empty",
            "client_address.trusted_proxy_hops",
            "metrics.interval_seconds",
            "upstream.url: the variable API_URL is not set",
            "revocation.delay_second_max: unknown member; did you mean delay_seconds_max?",
            "STORE_TOKN: unknown variable; rename it to STORE_TOKEN",
        ] {
            assert!(log.contains(name), "{name}: {log}");
        }
        assert!(!log.contains("server_timing"), "true is true: {log}");
        assert!(!log.contains("UNRELATED"), "a variable of the user's: {log}");
    }
    stop(edge).await;
}

const POLICY: &str = r#"
[store]
url = "http://127.0.0.1:9"

[upstream]
url = "${UPSTREAM}"

[[issuers]]
issuer = "https://issuer.example"
audience = "api"
algorithms = ["EdDSA"]
jwks_url = "http://127.0.0.1:9/jwks"

[[routes]]
name = "closed"
path = "/closed/*"
access = "deny"

[[env.staging.routes]]
name = "only"
path = "/only"
access = "deny"
"#;

const WRANGLER: &str = r#"
name = "edge"
main = "build/index.js"
compatibility_date = "2026-11-01"
compatibility_flags = ["enable_request_signal"]
[build]
command = "XTASK worker --project ."
watch_dir = ["portcullis.toml"]
[env.staging.vars]
PORTCULLIS_ENV = "staging"
UPSTREAM = "http://127.0.0.1:9"
"#;

/// wrangler builds the policy of the chosen environment, and rebuilds it when it changes. An
/// invalid policy fails to build and its errors are shown; a corrected one is served.
#[tokio::test]
async fn wrangler_dev_serves_an_environment_and_reloads_the_policy() {
    let (folder, [port]) = (Folder::new(), free_ports());
    // The folder is within the workspace, where `cargo xtask` also works.
    let xtask = std::env::var("PORTCULLIS_XTASK").unwrap_or_else(|_| "cargo xtask".to_owned());
    folder.write("wrangler.toml", &WRANGLER.replace("XTASK", &xtask));
    folder.write("portcullis.toml", POLICY);
    folder.write(".dev.vars", "STORE_TOKEN='secret'\n");
    let mut wrangler = Command::new(format!("{ROOT}/node_modules/.bin/wrangler"));
    wrangler.args(["dev", "--env", "staging", "--ip", "127.0.0.1", "--port", &port.to_string()]);
    wrangler.args(["--inspector-port", "0", "--show-interactive-dev-session=false"]);
    wrangler.env("WRANGLER_SEND_METRICS", "false").env("CLOUDFLARE_CF_FETCH_ENABLED", "false");
    wrangler.env("WRANGLER_HIDE_BANNER", "true").current_dir(folder.file(""));
    // wrangler needs the version of Node that is installed with it.
    let path = std::env::var("PATH").unwrap_or_default();
    wrangler.env("PATH", format!("{ROOT}/node_modules/.bin:{path}"));
    let process = Process::start(&mut wrangler, folder.file("log"));
    wait_for_port(port, &process);
    let code = async |path: &str| {
        let answer = get(&format!("http://127.0.0.1:{port}{path}")).send().await.ok()?;
        let body: Value = answer.json().await.ok()?;
        body["code"].as_str().map(str::to_owned)
    };
    let becomes = async |path: &str, expect: &str| {
        let begun = Instant::now();
        loop {
            let found = code(path).await;
            if found.as_deref() == Some(expect) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(40), "{path}: {found:?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    becomes("/only", "route_denied").await;
    becomes("/closed/x", "route_not_found").await;
    let changed = POLICY.replace("/only", "/other");
    folder.write("portcullis.toml", &changed);
    becomes("/other", "route_denied").await;
    becomes("/only", "route_not_found").await;
    folder.write("portcullis.toml", &changed.replace("path = \"/other\"", "pat = \"/other\""));
    process.says("routes[0].pat (route only): unknown member; did you mean path?").await;
    folder.write("portcullis.toml", POLICY);
    becomes("/only", "route_denied").await;
}

#[test]
fn taken_port_is_reported_with_the_flag_that_changes_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = xtask().args(["dev", "--port", &port]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(text.contains(&format!("port {port} is taken")) && text.contains("--port"), "{text}");
}

#[test]
fn servers_list_every_invalid_setting() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debug");
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(format!("{root}/{program}"));
        command.env("REFRESH_GRACE_SECOND", "5").env("GATEWAY_TOKEN", "x");
        let output = command.args(arguments).env_remove("STORE_TOKEN").output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = run("portcullis-auth", &["serve", "--listen", "nowhere"]);
    for name in
        ["ISSUER", "AUDIENCE", "STORE_URL", "STORE_TOKEN", "AUTH_LISTEN", "REFRESH_GRACE_SECOND:"]
    {
        assert!(text.contains(name), "{name}: {text}");
    }
    let text = run("portcullis-redis-gateway", &["--listen", "nowhere", "--redis-url", "http://x"]);
    for name in ["GATEWAY_LISTEN", "REDIS_URL", "GATEWAY_TOKENS", "GATEWAY_TOKEN:"] {
        assert!(text.contains(name), "{name}: {text}");
    }
}
