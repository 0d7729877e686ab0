//! Secrets from Secrets Store bindings, which the edge reads by itself. A Worker plays the Secrets
//! Store, and gets the secret from a server of the test.

use crate::support::edge::launch_edge;
use crate::support::environment::is_short;
use crate::support::http::{assert_refused, get};
use crate::support::own_workerd::OwnWorkerd;
use crate::support::provider::{Behaviour, Provider, answer};
use crate::support::stack::{SHARED, Stack};
use serde_json::json;
use std::time::{Duration, Instant};

/// An edge whose STORE_TOKEN is such a binding.
struct Edge {
    url: String,
    /// What the Secrets Store does.
    secret: Provider,
    workerd: OwnWorkerd,
}

impl Edge {
    /// Starts an edge in the place of `stack`, with its modules and its other settings.
    fn start(stack: &Stack) -> Self {
        let secret = Provider::start(answer(200, SHARED.fact("edge_store_token")));
        let script = SECRETS_STORE.replace("URL", &secret.url("/"));
        let token = format!("text = {}", json!(SHARED.fact("edge_store_token")));
        let workerd = OwnWorkerd::start(stack, &[("secrets", &script)], |name, text| match name {
            "config.capnp" => text.replace(&token, BOUND_SECRET),
            _ => text,
        });
        Self { url: workerd.url("/public/x"), secret, workerd }
    }

    /// Sends a request whose limit the store counts, which needs the secret.
    async fn status(&self) -> u16 {
        get(&self.url).send().await.unwrap().status().as_u16()
    }

    /// Returns how often the secret was read since the last call.
    fn reads(&self) -> usize {
        self.secret.take().len()
    }
}

fn stack() -> Stack {
    launch_edge(json!({
        "routes": [{ "name": "public", "path": "/public/*", "access": "public",
            "limit": { "quota": 100_000, "window_seconds": 60, "by": "address", "on_store_outage": "deny" } }],
    }))
}

#[tokio::test]
async fn secrets_are_read_once_and_again_after_a_failure() {
    let stack = stack();
    let edge = Edge::start(&stack);
    edge.secret.behave(answer(500, "out of order"));
    let refused = get(&edge.url).send().await.unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_refused(refused, 503, "configuration_invalid").await;
    edge.workerd.process.says("STORE_TOKEN: cannot be read from the Secrets Store").await;

    // A Secrets Store that says nothing delays no request beyond the deadline.
    edge.secret.behave(Behaviour::Stalls);
    let begun = Instant::now();
    let (one, other) = tokio::join!(edge.status(), edge.status());
    assert_eq!((one, other), (503, 503));
    let took = begun.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_secs(4), "{took:?}");

    edge.secret.behave(answer(200, SHARED.fact("edge_store_token")));
    edge.reads();
    let together = tokio::join!(edge.status(), edge.status(), edge.status(), edge.status());
    assert_eq!(together, (200, 200, 200, 200), "{}", edge.workerd.process.text());
    let reads = edge.reads();
    assert!((1..=4).contains(&reads), "{reads} reads");
    // It is not read again, nor needed.
    edge.secret.behave(Behaviour::Hangs);
    for _ in 0..20 {
        assert_eq!(edge.status().await, 200);
    }
    assert_eq!(edge.reads(), 0);
    let log = edge.workerd.process.text();
    assert!(!log.contains(SHARED.fact("edge_store_token")), "the secret is in the log");
}

/// Without an optional secret the policy would be valid, and mean less: records would be plain.
#[tokio::test]
async fn optional_secret_that_cannot_be_read_refuses_requests() {
    let key = format!("own:{}", "A".repeat(43));
    let stack = launch_edge(json!({ "RECORD_ENCRYPTION_KEY": key }));
    let secret = Provider::start(answer(500, "out of order"));
    let script = SECRETS_STORE.replace("URL", &secret.url("/"));
    let text = format!("text = {}", json!(key));
    let edge = OwnWorkerd::start(&stack, &[("secrets", &script)], |name, config| match name {
        "config.capnp" => config.replace(&text, BOUND_SECRET),
        _ => config,
    });
    let url = edge.url("/nowhere");
    for behaviour in [answer(500, "out of order"), answer(200, " ")] {
        secret.behave(behaviour);
        let refused = get(&url).send().await.unwrap();
        assert_refused(refused, 503, "configuration_invalid").await;
    }
    assert!(edge.process.text().contains("RECORD_ENCRYPTION_KEY: cannot be read"));
    secret.behave(answer(200, &key));
    assert_refused(get(&url).send().await.unwrap(), 404, "route_not_found").await;
}

/// Waits for the times that docs/configuration.md states.
#[tokio::test]
async fn changed_secret_is_used_within_its_bound() {
    let stack = stack();
    let (busy, idle) = (Edge::start(&stack), Edge::start(&stack));
    assert_eq!((busy.status().await, idle.status().await), (200, 200));
    let read = Instant::now();
    for edge in [&busy, &idle] {
        edge.secret.behave(answer(200, "unknown-to-the-store"));
        assert_eq!(edge.status().await, 200);
    }
    tokio::time::sleep(Duration::from_secs(31)).await;
    // This request reads it in the background, and one of the next ones uses it.
    busy.status().await;
    let begun = Instant::now();
    while busy.status().await != 503 {
        assert!(begun.elapsed() < Duration::from_secs(5), "{}", busy.workerd.process.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // While the Secrets Store fails, the isolate goes on with what it has.
    busy.secret.behave(answer(500, "out of order"));
    assert_eq!(busy.status().await, 503);
    if is_short() {
        return;
    }
    tokio::time::sleep(Duration::from_secs(61).saturating_sub(read.elapsed())).await;
    let (one, other) = tokio::join!(idle.status(), idle.status());
    assert_eq!((one, other), (503, 503), "an idle isolate used the old secret");

    busy.secret.behave(answer(200, SHARED.fact("edge_store_token")));
    idle.secret.behave(answer(500, "out of order"));
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(busy.status().await, 200);
    assert_eq!(idle.status().await, 503);
    idle.workerd.process.says("secrets_not_renewed").await;
}

const BOUND_SECRET: &str = r#"service = (name = "secrets", entrypoint = "Secret")"#;

/// As the Secrets Store, it throws if it has no such secret.
const SECRETS_STORE: &str = r#"import { WorkerEntrypoint } from 'cloudflare:workers';
export class Secret extends WorkerEntrypoint {
  async get() {
    const response = await fetch('URL');
    if (!response.ok) throw new Error('Secret "STORE_TOKEN" not found');
    return response.text();
  }
}
export default { fetch: () => new Response('', { status: 404 }) };
"#;
