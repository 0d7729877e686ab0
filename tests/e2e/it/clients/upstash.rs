//! Upstash's own clients, as published, against the redis gateway.

use crate::support::gateway::{Gateway, TOKEN};
use crate::support::process::Folder;
use crate::support::redis_server::Redis;
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
