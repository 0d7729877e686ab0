//! The client for browsers, in a real browser.

use crate::support::process::free_ports;
use crate::support::stack::Stack;
use serde_json::json;
use std::path::Path;
use std::process::{Command, Output};

fn at(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn held(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}");
}

#[tokio::test]
async fn browser_tabs_share_one_session() {
    let [port] = free_ports();
    let vars = json!({ "store.timeout_ms": 3000, "routes": [
        { "name": "refresh", "path": "/auth/refresh", "access": "auth", "endpoint": "token" },
        { "name": "logout", "path": "/auth/logout", "access": "auth", "endpoint": "revocation" },
        { "name": "auth", "path": "/auth/*", "access": "auth" },
        { "name": "revoke", "path": "/oauth/revoke", "access": "auth", "endpoint": "revocation" },
        { "name": "api", "path": "/api/*", "access": "protected" },
        { "name": "page", "path": "/page/*", "access": "public", "upstream": format!("http://127.0.0.1:{port}") },
    ] });
    // Without grace periods, reuse of a token by two tabs ends the session.
    let options = ["--auth-env", "ACCESS_TOKEN_SECONDS=6", "--auth-env", "REFRESH_GRACE_SECONDS=0"];
    let work = move || {
        let stack = Stack::start(&options, Some(vars));
        let mut node = Command::new(at("node_modules/.bin/node"));
        node.arg(at("tests/e2e/clients/tabs.mjs"))
            .env("EDGE_URL", stack.fact("edge_url"))
            .env("AUTH_ADMIN_URL", stack.fact("auth_admin_url"))
            .env("PAGE_PORT", port.to_string())
            .env("STACK_USERNAME", stack.username())
            .env("STACK_PASSWORD", stack.password());
        let output = node.output().unwrap();
        let log = if output.status.success() { String::new() } else { stack.log("edge") };
        (output, log)
    };
    let (output, log) = tokio::task::spawn_blocking(work).await.unwrap();
    let tail: Vec<&str> = log.lines().rev().take(30).collect();
    assert!(
        output.status.success(),
        "{}",
        tail.join("\n") + &String::from_utf8_lossy(&output.stderr)
    );
    held(&output);
}

#[tokio::test]
async fn client_types_compile() {
    let mut tsc = Command::new(at("node_modules/.bin/node"));
    tsc.arg(at("tests/e2e/clients/node_modules/typescript/bin/tsc"))
        .args(["--noEmit", "--strict", "--target", "es2023"]);
    tsc.args(["--module", "nodenext", "--lib", "es2023,dom,dom.iterable"]);
    tsc.arg(at("tests/e2e/clients/typed.mts"));
    held(&tokio::task::spawn_blocking(move || tsc.output().unwrap()).await.unwrap());
}
