//! MCP servers behind the edge, and the client of npm's @modelcontextprotocol/sdk: from the 401 it
//! finds the metadata and the authorization server, registers, signs in and calls a tool.

use crate::support::environment::ROOT;
use crate::support::http::{assert_refused, get_with};
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::stack::{SHARED, Stack, stop};
use crate::support::tcp_proxy::{Link, TcpProxy};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;

fn node(script: &str) -> Command {
    let mut node = Command::new(format!("{ROOT}/node_modules/.bin/node"));
    node.arg(format!("{ROOT}/tests/e2e/clients/{script}"));
    node
}

/// Calls a tool with the SDK's client, and returns what it prints.
async fn call(url: &str, tool: &str, token: Option<&str>) -> Value {
    let mut client = node("mcp.mjs");
    client.args(["call", url, tool]);
    if let Some(token) = token {
        client.env("TOKEN", token);
    }
    let output = tokio::task::spawn_blocking(move || client.output().unwrap()).await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{error}"))
}

/// Starts an edge with the policy of examples/mcp.
async fn start_edge(vars: Value) -> Stack {
    let policy = format!("{ROOT}/examples/mcp/portcullis.toml");
    let start = move || {
        let options = ["--only", "edge", "--policy", policy.as_str()];
        Stack::start(&options, Some(vars))
    };
    tokio::task::spawn_blocking(start).await.unwrap()
}

#[tokio::test]
async fn sdk_signs_in_from_the_challenge_alone_and_its_token_works_at_one_server() {
    let [provider_port, servers_port, public_port] = free_ports();
    let (folder, issuer) = (Folder::new(), format!("http://127.0.0.1:{provider_port}"));
    // The edge's own port is not known before it starts, and its public URL must be.
    let url = |name: &str| format!("http://127.0.0.1:{public_port}/{name}/mcp");
    let (orders, files) = (url("orders"), url("files"));
    let mut provider = node("provider.mjs");
    let resources = json!({ orders.as_str(): "orders:read", files.as_str(): "files:read" });
    provider.arg(provider_port.to_string()).env("EDGE_SECRET", "edge-secret-edge-secret-edge");
    let provider =
        Process::start(provider.env("RESOURCES", resources.to_string()), folder.file("provider"));
    let mut servers = node("mcp.mjs");
    servers.args(["serve", &servers_port.to_string()]);
    let servers = Process::start(&mut servers, folder.file("servers"));
    wait_for_port(provider_port, &provider);
    wait_for_port(servers_port, &servers);

    let edge = start_edge(json!({
        "upstream.url": format!("http://127.0.0.1:{servers_port}"),
        "store.url": SHARED.fact("store_url"),
        "STORE_TOKEN": SHARED.fact("edge_store_token"),
        "ISSUER": issuer,
        "ISSUER_METADATA_URL": format!("{issuer}/.well-known/openid-configuration"),
        "ORDERS_URL": orders,
        "FILES_URL": files,
    }))
    .await;
    let edge_port = edge.edge("").rsplit(':').next().unwrap().parse().unwrap();
    let proxy = TcpProxy::start_at(public_port, edge_port, Link::Delayed(Duration::ZERO));

    let called = call(&orders, "list_orders", None).await;
    assert_eq!(called["text"], "orders of alice", "{called}\n{}", provider.text());
    let requests = called["requests"].as_array().unwrap();
    let at = |at: usize| (requests[at]["url"].as_str().unwrap(), requests[at]["status"].as_u64());
    // The path from the refusal to the metadata, which the SDK has walked by itself.
    let metadata =
        format!("http://127.0.0.1:{public_port}/.well-known/oauth-protected-resource/orders/mcp");
    assert_eq!(at(0), (orders.as_str(), Some(401)));
    let challenge = requests[0]["challenge"].as_str().unwrap();
    assert!(challenge.contains(&format!("resource_metadata=\"{metadata}\"")), "{challenge}");
    assert_eq!(at(1), (metadata.as_str(), Some(200)));
    let authorization = called["authorization"].as_str().unwrap();
    let indicator = orders.replace(':', "%3A").replace('/', "%2F");
    assert!(authorization.starts_with(&issuer), "{authorization}");
    assert!(authorization.contains(&format!("resource={indicator}")), "{authorization}");
    assert!(authorization.contains("scope=orders%3Aread"), "{authorization}");

    // The token is for one server, and the other one's gate refuses it.
    let token = called["token"].as_str().unwrap();
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(claims["aud"], orders.as_str());
    let again = call(&orders, "list_orders", Some(token)).await;
    assert_eq!(again["text"], "orders of alice", "{again}");
    let refused = call(&files, "list_files", Some(token)).await;
    assert_eq!(refused["requests"][0]["status"], 401, "{refused}");
    let challenge = assert_refused(get_with(&files, token).await, 401, "audience_mismatch").await;
    let metadata =
        format!("http://127.0.0.1:{public_port}/.well-known/oauth-protected-resource/files/mcp");
    assert!(challenge.contains(&format!("resource_metadata=\"{metadata}\"")), "{challenge}");
    let other = call(&files, "list_files", None).await;
    assert_eq!(other["text"], "files of alice", "{other}");
    let token = other["token"].as_str().unwrap();
    assert_refused(get_with(&orders, token).await, 401, "audience_mismatch").await;
    stop((edge, provider, servers, proxy)).await;
}
