//! Upstash's own clients, as published, against the redis gateway.

use crate::support::gateway::{Gateway, TOKEN, read_reply};
use crate::support::http::client;
use crate::support::process::{Folder, Process, free_ports, health, wait_for_port};
use crate::support::redis_server::Redis;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const READ: &str = "read-read-read-read-read-read-read";

/// Runs a client's script, which must succeed.
async fn run(mut command: Command, script: &'static str) {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let tokens = format!("[[token]]\nname='read'\nrole='read'\nsecret='{READ}'\n");
    let file = folder.write("tokens.toml", &tokens).to_str().unwrap().to_owned();
    let gateway = Gateway::start_in(folder, &redis.url(), &[("GATEWAY_TOKENS_FILE", &file)]);
    command
        .arg(root().join("tests/e2e/clients").join(script))
        .env("GATEWAY_URL", &gateway.url)
        .env("GATEWAY_TOKEN", TOKEN)
        .env("GATEWAY_READ_TOKEN", READ);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}\n{}", gateway.process.text());
    assert!(out.contains("all of it held"), "{out}\n{error}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[tokio::test]
async fn upstash_redis_for_javascript_works() {
    run(Command::new("node"), "redis.mjs").await;
}

#[tokio::test]
async fn upstash_ratelimit_works_with_each_algorithm() {
    run(Command::new("node"), "ratelimit.mjs").await;
}

#[tokio::test]
async fn upstash_redis_for_python_works() {
    run(Command::new(root().join(".tools/python/bin/python")), "upstash.py").await;
}

/// Starts the redis gateway with this environment alone, in a folder. Its port is open to other
/// machines while the test runs, as serverless-redis-http's is.
fn start_with_srh(folder: &Folder, port: u16, environment: &[(&str, &str)]) -> Process {
    let mut command = Command::new(root().join("target/debug/portcullis-redis-gateway"));
    command.env_clear().current_dir(folder.file("")).envs(environment.iter().copied());
    command.env("SRH_PORT", port.to_string()).env("GATEWAY_ADMIN_LISTEN", "127.0.0.1:0");
    let process = Process::start(&mut command, folder.file("gateway.log"));
    wait_for_port(port, &process);
    process
}

#[tokio::test]
async fn gateway_replaces_serverless_redis_http_by_its_variables_alone() {
    let (redis, folder, [port]) = (Redis::start(&[]), Folder::new(), free_ports());
    let url = redis.url();
    let settings = [
        ("SRH_MODE", "env"),
        ("SRH_TOKEN", "example_token"),
        ("SRH_CONNECTION_STRING", url.as_str()),
    ];
    let gateway = start_with_srh(&folder, port, &settings);
    let address = format!("http://127.0.0.1:{port}");
    let mut node = Command::new("node");
    node.arg(root().join("tests/e2e/clients/redis.mjs"));
    node.env("GATEWAY_URL", &address).env("GATEWAY_TOKEN", "example_token");
    let output = tokio::task::spawn_blocking(move || node.output().unwrap()).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("all of it held"), "{text}");
    // The token may do what it may there, except what would change a connection of others.
    let send = async |token: &str, command: Value| {
        let request = client().post(&address).bearer_auth(token).json(&command);
        read_reply(request.send().await.unwrap()).await
    };
    for command in [json!(["CONFIG", "GET", "port"]), json!(["KEYS", "*"]), json!(["FLUSHALL"])] {
        assert_eq!(send("example_token", command.clone()).await.0, 200, "{command}");
    }
    for name in ["MULTI", "SELECT", "SUBSCRIBE", "MONITOR", "CLIENT", "BLPOP"] {
        let (status, body) = send("example_token", json!([name, "1", "1"])).await;
        let error = body["error"].as_str().unwrap();
        assert!(
            status == 400 && error.starts_with("ERR Command is not available"),
            "{name} {body}"
        );
    }
    assert_eq!(send("example_toke", json!(["PING"])).await.0, 401);
    // What health checks of Compose files ask.
    assert_eq!(client().get(&address).send().await.unwrap().status(), 200);
    assert_eq!(client().get(format!("{address}/?x")).send().await.unwrap().status(), 401);
    let port = port.to_string();
    let environment = [&settings[..], &[("SRH_PORT", &port)]].concat();
    let healthy = health("portcullis-redis-gateway", &[], &environment);
    assert_eq!(healthy, (0, "healthy\n".to_owned()));
    let log = gateway.text();
    assert!(log.contains("\"event\":\"srh_token_short\""), "{log}");
    assert!(!log.contains("example_token"), "{log}");
}

#[tokio::test]
async fn gateway_replaces_serverless_redis_http_by_its_file() {
    let (folder, [port]) = (Folder::new(), free_ports());
    let (one, other) = (Redis::start(&[]), Redis::start(&[]));
    std::fs::create_dir(folder.file("srh-config")).unwrap();
    let entry = |redis: &Redis| json!({ "srh_id": "x", "connection_string": redis.url() });
    let write = |token: &str| {
        let tokens = json!({ "one": entry(&one), token: entry(&other) });
        folder.write("srh-config/tokens.json", &tokens.to_string());
    };
    write("other");
    let gateway = start_with_srh(&folder, port, &[]);
    let send = async |token: &str, command: Value| {
        let request = client().post(format!("http://127.0.0.1:{port}")).bearer_auth(token);
        read_reply(request.json(&command).send().await.unwrap()).await
    };
    for token in ["one", "other"] {
        assert_eq!(send(token, json!(["SET", "k", token])).await.0, 200);
    }
    for (token, redis) in [("one", &one), ("other", &other)] {
        assert_eq!(send(token, json!(["GET", "k"])).await.1, json!({ "result": token }));
        let value: String = redis::cmd("GET").arg("k").query(&mut redis.connection()).unwrap();
        assert_eq!(value, token);
    }
    write("new");
    gateway.signal("-HUP");
    gateway.says("\"reloaded\"").await;
    assert_eq!(send("new", json!(["GET", "k"])).await.1, json!({ "result": "other" }));
    assert_eq!(send("other", json!(["GET", "k"])).await.0, 401);
}

#[test]
fn settings_of_gateway_and_serverless_redis_http_exclude_each_other() {
    let mut command = Command::new(root().join("target/debug/portcullis-redis-gateway"));
    command.env_clear().env("SRH_TOKEN", "hush").env("REDIS_URL", "redis://:hush@127.0.0.1");
    let output = command.output().unwrap();
    let log = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{log}");
    assert!(log.contains("REDIS_URL: is given, and so is SRH_TOKEN"), "{log}");
    assert!(!log.contains("hush"), "{log}");
}
