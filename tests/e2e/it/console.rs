//! The operator console in a real browser, before a running system. `tests/e2e/console` has the
//! suites.

use crate::support::stack::{Stack, stop};
use serde_json::json;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A text that is markup and a script.
const HOSTILE: &str = "\"><img src=x onerror=\"globalThis.hostileRan=true\">";
const PASSWORD: &str = "password";

fn add_user(stack: &Stack, username: &str, scope: &str) {
    let mut add = Command::new(at("target/debug/portcullis-auth"));
    add.arg("--config").arg(stack.fact("auth_config"));
    add.args(["user", "add", "--username", username, "--scope", scope]);
    let mut add = add.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    add.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
    assert!(add.wait().unwrap().success(), "{username}");
}

/// Runs suites, one after another, on a system of their own whose edge reports often.
async fn run(suites: &'static [&'static str]) {
    let vars = json!({ "metrics.interval_seconds": 2, "usage.flush_seconds": 10 });
    let start = move || Stack::start(&[], Some(vars));
    let stack = tokio::task::spawn_blocking(start).await.unwrap();
    let (stack, outcome) = tokio::task::spawn_blocking(move || {
        let outcome = run_on(&stack, suites);
        (stack, outcome)
    })
    .await
    .unwrap();
    let log = if outcome.is_err() { stack.log("auth") } else { String::new() };
    let folder = stack.folder();
    stop(stack).await;
    if let Err(text) = outcome {
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        panic!("{text}\nthe auth service in {}:\n{}", folder.display(), tail.join("\n"));
    }
}

fn run_on(stack: &Stack, suites: &[&str]) -> Result<(), String> {
    let user = |name: &str| json!({ "username": name, "password": PASSWORD });
    let users = [
        ("anna", "anna", "api:read"),
        ("bert", "bert", "api:read"),
        ("hostile", HOSTILE, "api:read"),
    ];
    users.iter().for_each(|(_, username, scope)| add_user(stack, username, scope));
    add_user(stack, "second", "console:read console:act");
    let mut facts = stack.facts().clone();
    facts["users"] = users.iter().map(|(name, username, _)| (*name, user(username))).collect();
    facts["second"] = user("second");
    let file = stack.folder().join("console.json");
    std::fs::write(&file, facts.to_string()).unwrap();
    let mut node = Command::new(at("node_modules/.bin/node"));
    node.arg(at("tests/e2e/console/run.mjs")).args(suites).env("FACTS", file);
    if let Ok(folder) = std::env::var("PORTCULLIS_SCREENSHOTS") {
        node.env("SHOTS", folder);
    }
    let output = node.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    println!("{out}");
    output.status.success().then_some(()).ok_or(format!("{out}\n{error}"))
}

#[tokio::test]
async fn console_shows_hostile_texts_and_fits_every_window() {
    run(&["hostile", "screens", "keyboard"]).await;
}

#[tokio::test]
async fn console_actions_take_effect_with_the_next_request() {
    run(&["actions", "roles"]).await;
}

#[tokio::test]
async fn console_shows_an_outage_of_the_store_on_every_page() {
    run(&["outage"]).await;
}

#[tokio::test]
async fn console_responds_in_time_with_many_rows_under_load() {
    run(&["volume"]).await;
}

#[tokio::test]
async fn console_shows_what_happens_now_and_each_refusal() {
    run(&["units", "now"]).await;
}
