//! The auth service's OAuth endpoints through the edge, used by a strict third-party client.

use crate::auth::clients::command as auth_command;
use crate::support::environment::ROOT;
use crate::support::stack::{Stack, stop};
use std::process::Command;

#[tokio::test]
async fn oauth4webapi_accepts_metadata_refresh_introspection_and_revocation() {
    run("oauth.mjs", &[]).await;
}

#[tokio::test]
async fn oauth4webapi_and_openid_client_get_tokens_for_clients() {
    let scope = ["user", "set", "--scope", "clients:admin", "--username"];
    run("machine_clients.mjs", &scope).await;
}

/// Runs a program before a new system, after a command about its user.
async fn run(program: &'static str, command: &[&'static str]) {
    let arguments = command.to_vec();
    let work = move || {
        let stack = Stack::start(&[], None);
        if !arguments.is_empty() {
            auth_command(&stack, &[&arguments[..], &[stack.username()]].concat());
        }
        let mut node = Command::new(format!("{ROOT}/node_modules/.bin/node"));
        node.arg(format!("{ROOT}/tests/e2e/clients/{program}"))
            .env("EDGE_URL", stack.fact("edge_url"))
            .env("INTROSPECTION_SECRET", stack.fact("introspection_secret"))
            .env("STACK_USERNAME", stack.username())
            .env("STACK_PASSWORD", stack.password());
        (node.output().unwrap(), stack)
    };
    let (output, stack) = tokio::task::spawn_blocking(work).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}\n{}", stack.log("auth"));
    assert!(out.contains("all of it held"), "{out}\n{error}");
    stop(stack).await;
}
