//! Invalid configuration, as an operator sees it.

use crate::support::environment::xtask;
use crate::support::http::{assert_refused, client, get};
use crate::support::process::{Folder, Process, free_ports, wait_for_port, wrangler_dev};
use crate::support::redis_server::Redis;
use crate::support::stack::{RECORD_ENCRYPTION_KEY, Stack, stop};
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
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
    let mut wrangler = wrangler_dev(&folder, port);
    wrangler.args(["--env", "staging"]);
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
    for name in [
        "ISSUER: is not set",
        "AUDIENCE: is not set",
        "STORE_URL: is not set",
        "STORE_TOKEN: is not set",
        "--listen: must be address:port",
        "REFRESH_GRACE_SECOND:",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
    let text = run("portcullis-redis-gateway", &["--listen", "nowhere", "--redis-url", "http://x"]);
    for name in ["--listen: must", "--redis-url: must", "GATEWAY_TOKENS: neither", "GATEWAY_TOKEN:"]
    {
        assert!(text.contains(name), "{name}: {text}");
    }
    // In a file, each has its line and column. Those of the environment are listed with them.
    let folder = Folder::new();
    let file = |name: &str, text: &str| folder.write(name, text).display().to_string();
    let auth = "ISSUER = 'https://a.example'\n[access_tokens]\n  secnds = 5\nseconds = 0\n\
                [store]\ntoken = 'secret-word'\n";
    let path = file("auth.toml", auth);
    let text = run("portcullis-auth", &["--config", &path, "serve"]);
    for error in [
        "auth.toml:1:1: error: ISSUER: is the name of a variable; in this file it is tokens.issuer",
        "auth.toml:3:3: error: access_tokens.secnds: unknown member; did you mean seconds?",
        "auth.toml:4:1: error: access_tokens.seconds: must be a whole number, 1 to 86400",
        "auth.toml:5:2: error: store.url: is not set; give the store's REST URL, here or as STORE_URL",
        "auth.toml:6:1: error: store.token: a secret does not belong in this file",
        "REFRESH_GRACE_SECOND: unknown setting; rename it to REFRESH_GRACE_SECONDS",
    ] {
        assert!(text.contains(error), "{error}: {text}");
    }
    assert!(!text.contains("secret-word"), "{text}");
    let path = file("redis-gateway.toml", "[redis]\nlisten = 'x'\nurl = 5\n[tokens]\nfile = 'x'\n");
    let text = run("portcullis-redis-gateway", &["--config", &path]);
    for error in [
        "redis-gateway.toml:2:1: error: redis.listen: unknown member; did you mean server.listen?",
        "redis-gateway.toml:3:1: error: redis.url: must be a text",
        "redis-gateway.toml:5:1: error: tokens.file: can't be read",
        "GATEWAY_TOKEN: unknown setting; rename it to GATEWAY_TOKENS",
    ] {
        assert!(text.contains(error), "{error}: {text}");
    }
}

/// Each server does its work with no variable and no flag but `--config`, and with files next to
/// that one.
#[tokio::test]
async fn servers_start_from_their_files_alone() {
    let (redis, folder) = (Redis::start(&[]), Folder::new());
    let [gateway_port, gateway_admin_port, auth_port, auth_admin_port] = free_ports();
    let server = |port: u16, admin_port: u16| {
        format!("[server]\nlisten = '127.0.0.1:{port}'\nadmin_listen = '127.0.0.1:{admin_port}'\n")
    };
    let token = "0123456789abcdef0123456789abcdef";
    folder.write(
        "tokens.toml",
        &format!("[[token]]\nname = 'auth'\nsecret = '{token}'\nrole = 'full'\n"),
    );
    let gateway_file = folder.write(
        "redis-gateway.toml",
        &format!(
            "{}[redis]\nurl = '{}'\nconnections = 2\n[tokens]\nfile = 'tokens.toml'\n",
            server(gateway_port, gateway_admin_port),
            redis.url()
        ),
    );
    for (name, secret) in [("store-token", token), ("master-key", RECORD_ENCRYPTION_KEY)] {
        folder.write(name, &format!("{secret}\n"));
    }
    let auth_file = folder.write(
        "auth.toml",
        &format!(
            "{}[database]\nurl = 'sqlite://{}'\n\
             [store]\nurl = 'http://127.0.0.1:{gateway_port}'\ntoken_file = 'store-token'\n\
             [tokens]\nissuer = 'https://a.example'\naudience = 'api'\n\
             [access_tokens]\nseconds = 77\n[signing]\nmaster_key_file = 'master-key'\n",
            server(auth_port, auth_admin_port),
            folder.file("auth.db").display(),
        ),
    );
    let command = |program: &str, file: &Path, arguments: &[&str]| {
        let mut command = Command::new(format!("{ROOT}/target/debug/{program}"));
        command.env_clear().current_dir("/").arg("--config").arg(file).args(arguments);
        command
    };
    let mut gateway = command("portcullis-redis-gateway", &gateway_file, &[]);
    let gateway = Process::start(&mut gateway, folder.file("gateway.log"));
    wait_for_port(gateway_port, &gateway);
    let mut add = command("portcullis-auth", &auth_file, &["user", "add", "--username", "alice"]);
    let mut add = add.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    add.stdin.take().unwrap().write_all(b"password").unwrap();
    assert!(add.wait().unwrap().success());
    let mut auth = command("portcullis-auth", &auth_file, &["serve"]);
    let auth = Process::start(&mut auth, folder.file("auth.log"));
    wait_for_port(auth_port, &auth);
    let login = client().post(format!("http://127.0.0.1:{auth_port}/auth/login"));
    let login = login.json(&json!({ "username": "alice", "password": "password" }));
    let login: Value = login.send().await.unwrap().json().await.unwrap();
    assert_eq!(login["expires_in"], 77, "{login}: {}", auth.text());
    // The session is in the store, which the redis gateway reaches by its file.
    let begun = Instant::now();
    loop {
        let mut command = redis::cmd("KEYS");
        let keys: Vec<String> = command.arg("pc:token:*").query(&mut redis.connection()).unwrap();
        if keys.len() == 1 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{keys:?} {}", auth.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for port in [gateway_admin_port, auth_admin_port] {
        let ready = get(&format!("http://127.0.0.1:{port}/readyz")).send().await.unwrap();
        assert_eq!(ready.status(), 200);
    }
}
