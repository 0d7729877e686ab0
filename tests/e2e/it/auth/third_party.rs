//! The edge with a real third-party provider: its keys, its introspection and its token endpoint,
//! set up as docs/identity-providers.md describes.

use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, client, get_with};
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::stack::{Stack, stop};
use futures_util::future::join_all;
use reqwest::Response;
use serde_json::{Value, json};
use std::process::Command;

const SECRET: &str = "edge-secret-edge-secret-edge-secret";

struct Provider {
    url: String,
    process: Process,
    _folder: Folder,
}

impl Provider {
    fn start() -> Self {
        let [port] = free_ports();
        let (folder, root) = (Folder::new(), concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let mut node = Command::new(format!("{root}/node_modules/.bin/node"));
        node.arg(format!("{root}/tests/e2e/clients/provider.mjs")).arg(port.to_string());
        let process = Process::start(node.env("EDGE_SECRET", SECRET), folder.file("log"));
        wait_for_port(port, &process);
        Self { url: format!("http://127.0.0.1:{port}"), process, _folder: folder }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = client().get(format!("{}{path}", self.url)).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        serde_json::from_str(&text)
            .unwrap_or_else(|_| panic!("{path}: {status} {text}\n{}", self.process.text()))
    }

    async fn refreshes(&self) -> u64 {
        self.get("/test/refreshes").await["refreshes"].as_u64().unwrap()
    }

    /// Returns tokens for a resource. The sign-in's code is exchanged through the edge.
    async fn sign_in(&self, edge: &Stack, resource: &str) -> Value {
        let path = format!("/test/sign-in?resource={resource}&token_url={}", edge.edge("/token"));
        let tokens = self.get(&path).await;
        assert!(tokens["refresh_token"].is_string(), "{tokens}\n{}", self.process.text());
        tokens
    }
}

async fn start_edge_before(provider: &Provider, replay_seconds: u32) -> Stack {
    let introspection = json!({
        "url": format!("{}/token/introspection", provider.url),
        "client_id": "edge", "client_secret_variable": "PROVIDER_SECRET",
    });
    let vars = json!({
        "auth.url": provider.url,
        "PROVIDER_SECRET": SECRET,
        "auth.refresh_replay_seconds": replay_seconds,
        "issuers": [
            { "issuer": provider.url, "audience": "https://api.example", "algorithms": ["ES256"],
              "metadata_url": format!("{}/.well-known/openid-configuration", provider.url) },
            { "issuer": provider.url, "audience": "https://opaque.example", "introspection": introspection },
        ],
        "routes": [
            { "name": "token", "path": "/token", "access": "auth", "endpoint": "token" },
            { "name": "revocation", "path": "/token/revocation", "access": "auth", "endpoint": "revocation" },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked", "scopes": ["api:read"] },
        ],
    });
    start_edge(vars).await
}

async fn post(edge: &Stack, path: &str, form: String) -> Response {
    let request = client().post(edge.edge(path)).body(form);
    request.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap()
}

fn grant(tokens: &Value) -> String {
    let token = tokens["refresh_token"].as_str().unwrap();
    format!("grant_type=refresh_token&client_id=spa&refresh_token={token}")
}

fn access(tokens: &Value) -> &str {
    tokens["access_token"].as_str().unwrap()
}

#[tokio::test]
async fn concurrent_refreshes_keep_the_session_at_a_strict_provider() {
    let provider = Provider::start();
    let (one, two) =
        (start_edge_before(&provider, 10).await, start_edge_before(&provider, 10).await);
    for resource in ["https://api.example", "https://opaque.example"] {
        let mut tokens = provider.sign_in(&one, resource).await;
        let api = one.edge("/api/hello");
        let answer = get_with(&api, access(&tokens)).await;
        assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
        for round in 0..3 {
            let (before, form) = (provider.refreshes().await, grant(&tokens));
            let ten = (0..10).map(|place| {
                let edge = if place % 2 == 0 { &one } else { &two };
                async {
                    let answer = post(edge, "/token", form.clone()).await;
                    assert_eq!(answer.status(), 200);
                    answer.text().await.unwrap()
                }
            });
            let answers = join_all(ten).await;
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{round}: {answers:?}");
            assert_eq!(provider.refreshes().await - before, 1, "{round}");
            tokens = serde_json::from_str(&answers[0]).unwrap();
            for edge in [&one, &two] {
                let answer = get_with(&edge.edge("/api/hello"), access(&tokens)).await;
                assert_eq!(answer.status(), 200, "{round}");
                let seen: Value = answer.json().await.unwrap();
                assert_eq!(seen["headers"]["portcullis-subject"], "alice");
            }
        }
        // After a revocation through the edge, the recent response is not replayed.
        let old = grant(&tokens);
        tokens =
            serde_json::from_str(&post(&one, "/token", old.clone()).await.text().await.unwrap())
                .unwrap();
        assert_eq!(post(&two, "/token", old.clone()).await.status(), 200);
        let revoked = format!("client_id=spa&token={}", tokens["refresh_token"].as_str().unwrap());
        assert_eq!(post(&one, "/token/revocation", revoked).await.status(), 200);
        for edge in [&one, &two] {
            for form in [old.clone(), grant(&tokens)] {
                let answer = post(edge, "/token", form).await;
                assert_eq!(answer.status(), 400);
                let error: Value = answer.json().await.unwrap();
                assert_eq!(error["error"], "invalid_grant", "as the provider said it");
            }
        }
        if resource.contains("opaque") {
            // The provider is queried each time, so a revocation takes effect at once.
            assert_refused(get_with(&api, access(&tokens)).await, 401, "token_inactive").await;
        }
    }
    stop((one, two)).await;
}

#[tokio::test]
async fn provider_token_is_revoked_by_its_id() {
    let provider = Provider::start();
    let edge = start_edge_before(&provider, 4).await;
    let first = provider.sign_in(&edge, "https://api.example").await;
    let refresh = async |tokens: &Value| -> Value {
        let answer = post(&edge, "/token", grant(tokens)).await;
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    };
    let second = refresh(&first).await;
    // The link to the first token expires before the response itself does.
    tokio::time::sleep(std::time::Duration::from_millis(2800)).await;
    let third = refresh(&second).await;
    tokio::time::sleep(std::time::Duration::from_millis(1400)).await;
    assert_eq!(refresh(&second).await, third);
    let form = format!("client_id=spa&token={}", second["refresh_token"].as_str().unwrap());
    assert_eq!(post(&edge, "/token/revocation", form).await.status(), 200);
    assert_eq!(post(&edge, "/token", grant(&second)).await.status(), 400);
    stop(edge).await;
}

/// Shows what the same requests do to a session without the edge.
#[tokio::test]
async fn concurrent_refreshes_end_the_session_without_the_edge() {
    let provider = Provider::start();
    let edge = start_edge_before(&provider, 10).await;
    let tokens = provider.sign_in(&edge, "https://api.example").await;
    let url = format!("{}/token", provider.url);
    let send = |form: String| {
        let request = client().post(&url).body(form);
        request.header("content-type", "application/x-www-form-urlencoded").send()
    };
    let both = join_all((0..2).map(|_| send(grant(&tokens)))).await;
    let mut next = None;
    for answer in both {
        let answer = answer.unwrap();
        if answer.status() == 200 {
            next = Some(answer.json::<Value>().await.unwrap());
        }
    }
    assert_eq!(send(grant(&next.unwrap())).await.unwrap().status(), 400);
    stop(edge).await;
}
