//! Requests of every kind through proxies that inject faults, and their results.

use crate::support::edge::launch_edge;
use crate::support::environment::fault_seconds;
use crate::support::environment::is_short;
use crate::support::http::{client_builder, post};
use crate::support::issuer::AUDIENCE;
use crate::support::proxy::Proxy;
use crate::support::stack::{Stack, stop};
use reqwest::Client;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const PER_SECOND: u64 = 200;
pub const SLACK: Duration = Duration::from_millis(1500);

/// Returns the edge's default; a longer timeout next to other tests, which keep the machine busy.
pub fn store_deadline_ms() -> u64 {
    if is_short() { 1000 } else { 250 }
}

/// Returns the rate of introspections. In a short run, the store's timeout is so long that the
/// requests of one second time out and are introspected together with those of the next second.
fn introspections_per_second_max() -> u32 {
    if is_short() { 100 } else { 50 }
}

/// The timeout of the auth service and of an upstream.
pub fn deadline_ms() -> u64 {
    if is_short() { 2000 } else { 1000 }
}

/// The dependency that has faults.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Subject {
    Auth,
    Store,
    Upstream,
}

impl Subject {
    /// Returns the timeout of a dependency, which is usually `own_ms`. In a short run, a busy
    /// machine may stop for seconds, and a dependency without faults must not time out then.
    fn timeout_ms(self, of: Self, own_ms: u64) -> u64 {
        if is_short() && self != of { 10_000 } else { own_ms }
    }
}

/// A kind of request, sent repeatedly.
#[derive(Clone)]
pub struct Kind {
    pub name: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    /// The tokens, used in turn.
    pub tokens: Vec<String>,
    pub body: Option<&'static str>,
    /// Whether its tokens are revoked, so that 200 is wrong.
    pub revoked: bool,
}

impl Kind {
    pub fn new(name: &'static str, path: &'static str, tokens: &[String]) -> Self {
        let tokens = tokens.to_vec();
        Self { name, method: "GET", path, tokens, body: None, revoked: false }
    }

    pub fn request(&self, client: &Client, edge: &Stack, number: usize) -> reqwest::RequestBuilder {
        let method = self.method.parse().unwrap();
        let mut request = client.request(method, edge.edge(self.path));
        if !self.tokens.is_empty() {
            request = request.bearer_auth(&self.tokens[number % self.tokens.len()]);
        }
        match self.body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request,
        }
    }
}

/// The results of one kind.
#[derive(Default)]
pub struct Seen {
    pub statuses: BTreeMap<u16, u64>,
    /// Responses that ended early.
    pub cut: u64,
    /// Requests without a response.
    pub lost: u64,
    pub worst: Duration,
}

impl Seen {
    pub fn shown(&self) -> String {
        let shown = self.statuses.iter().map(|(status, count)| format!("{status} × {count}"));
        let cut = (self.cut > 0).then(|| format!("cut × {}", self.cut));
        let lost = (self.lost > 0).then(|| format!("lost × {}", self.lost));
        shown.chain(cut).chain(lost).collect::<Vec<_>>().join(", ")
    }

    pub fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    pub fn total(&self) -> u64 {
        self.statuses.values().sum::<u64>() + self.cut + self.lost
    }
}

/// The system, with a proxy between the edge and each of its dependencies.
pub struct Bench {
    pub stack: Stack,
    pub edge: Arc<Stack>,
    pub store: Proxy,
    pub auth: Proxy,
    pub upstream: Proxy,
    pub kinds: Vec<Kind>,
    pub client: Client,
}

impl Bench {
    pub async fn start(subject: Subject) -> Self {
        let start = move || {
            let stack = Stack::start(&[], None);
            let [store, auth, upstream] = ["store_url", "auth_url", "upstream_url"]
                .map(|name| Proxy::start(stack.fact(name)));
            let route = |name: &str, more: serde_json::Value| {
                let mut route = json!({
                    "name": name, "path": format!("/api/{name}"), "access": "protected",
                    "limit": { "quota": 1_000_000, "window_seconds": 1, "by": "subject" },
                });
                route.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                route
            };
            let edge = launch_edge(json!({
                "store.timeout_ms": subject.timeout_ms(Subject::Store, store_deadline_ms()),
                "introspection.per_second_max": introspections_per_second_max(),
                "introspection.timeout_ms": subject.timeout_ms(Subject::Auth, 1000),
                "store.url": store.url(), "STORE_TOKEN": stack.fact("edge_store_token"),
                "auth.url": auth.url(),
                "auth.timeout_ms": subject.timeout_ms(Subject::Auth, deadline_ms()),
                "upstream.url": upstream.url(),
                "upstream.timeout_ms": subject.timeout_ms(Subject::Upstream, deadline_ms()),
                "breaker.open_ms_max": 1000, "logging.requests": "refused",
                "INTROSPECTION_SECRET": stack.fact("introspection_secret"),
                "issuers": [{
                    "issuer": stack.fact("edge_url"), "audience": AUDIENCE, "algorithms": ["EdDSA"],
                    "jwks_url": format!("{}/.well-known/jwks.json", stack.fact("auth_url")),
                    "introspection": {
                        "url": format!("{}/oauth/introspect", auth.url()), "client_id": "edge",
                        "client_secret_variable": "INTROSPECTION_SECRET", "revocations_in_store": true,
                    },
                }],
                "routes": [
                    { "name": "auth", "path": "/auth/*", "access": "auth" },
                    { "name": "well-known", "path": "/.well-known/*", "access": "auth" },
                    { "name": "public", "path": "/public/*", "access": "public" },
                    route("deny", json!({ "on_store_outage": "deny" })),
                    route("introspect", json!({ "on_store_outage": "introspect" })),
                    route("signature", json!({ "on_store_outage": "signature" })),
                ],
            }));
            (stack, Arc::new(edge), store, auth, upstream)
        };
        let (stack, edge, store, auth, upstream) =
            tokio::task::spawn_blocking(start).await.unwrap();
        // There are enough revoked tokens for each fault to have some that are not cached, because
        // the edge caches verdicts.
        let (mut good, mut revoked) = (Vec::new(), Vec::new());
        for number in 0..24 {
            let session = stack.login().await;
            match number {
                0..4 => good.push(session.access),
                _ => {
                    let body = json!({ "refresh_token": session.refresh });
                    let logout = post(&stack.edge("/auth/logout"), body).await;
                    assert_eq!(logout.status(), 204);
                    revoked.push(session.access);
                }
            }
        }
        let kind = |name, path, tokens: &[String], revoked| Kind {
            revoked,
            ..Kind::new(name, path, tokens)
        };
        let kinds = vec![
            kind("deny", "/api/deny", &good, false),
            kind("introspect", "/api/introspect", &good, false),
            kind("signature", "/api/signature", &good, false),
            kind("deny, revoked", "/api/deny", &revoked, true),
            kind("introspect, revoked", "/api/introspect", &revoked, true),
            kind("signature, revoked", "/api/signature", &revoked, true),
            kind("public", "/public/x", &[], false),
            Kind {
                method: "POST",
                body: Some("{}"),
                ..kind("public POST", "/public/x", &[], false)
            },
            Kind {
                method: "POST",
                body: Some(r#"{"refresh_token":"never-issued"}"#),
                ..kind("refresh", "/auth/refresh", &[], false)
            },
            kind("key set", "/.well-known/jwks.json", &[], false),
        ];
        let client = client_builder().timeout(Duration::from_secs(10));
        // workerd closes a connection that is idle for 5 s, perhaps while a request is on its way.
        let client = client.pool_idle_timeout(Duration::from_secs(2)).build().unwrap();
        Self { stack, edge, store, auth, upstream, kinds, client }
    }

    /// Sends each kind in turn for some time, while `during` runs.
    pub async fn load(
        &self,
        names: &[&str],
        during: impl Future<Output = ()>,
    ) -> BTreeMap<&'static str, Seen> {
        let kinds: Vec<Kind> =
            self.kinds.iter().filter(|kind| names.contains(&kind.name)).cloned().collect();
        let seen = Arc::new(Mutex::new(BTreeMap::<&'static str, Seen>::new()));
        let sent = async {
            let (begun, mut calls) = (Instant::now(), Vec::new());
            for number in 0..fault_seconds() * PER_SECOND {
                let at = begun + Duration::from_micros(number * 1_000_000 / PER_SECOND);
                tokio::time::sleep_until(at.into()).await;
                let place = usize::try_from(number).unwrap();
                let kind = &kinds[place % kinds.len()];
                let request = kind.request(&self.client, &self.edge, place / kinds.len());
                let (name, seen) = (kind.name, Arc::clone(&seen));
                calls.push(tokio::spawn(async move {
                    let begun = Instant::now();
                    let answer = match request.send().await {
                        Ok(response) => {
                            let status = response.status().as_u16();
                            Some(response.bytes().await.ok().map(|_| status))
                        }
                        Err(_) => None,
                    };
                    let mut seen = seen.lock().unwrap();
                    let seen = seen.entry(name).or_default();
                    seen.worst = seen.worst.max(begun.elapsed());
                    match answer {
                        Some(Some(status)) => *seen.statuses.entry(status).or_default() += 1,
                        Some(None) => seen.cut += 1,
                        None => seen.lost += 1,
                    }
                }));
            }
            for call in calls {
                call.await.unwrap();
            }
        };
        tokio::join!(sent, during);
        std::mem::take(&mut *seen.lock().unwrap())
    }

    /// Returns the time until each kind succeeds again.
    pub async fn recovers(&self, names: &[&str]) -> Duration {
        let begun = Instant::now();
        for kind in self.kinds.iter().filter(|kind| names.contains(&kind.name) && !kind.revoked) {
            let expect = if kind.name == "refresh" { 401 } else { 200 };
            let mut good = 0;
            while good < 5 {
                let request = kind.request(&self.client, &self.edge, 0);
                let status = request.send().await.map(|response| response.status().as_u16());
                good = if status.is_ok_and(|status| status == expect) { good + 1 } else { 0 };
                assert!(
                    begun.elapsed() < Duration::from_secs(20),
                    "{} does not come back",
                    kind.name
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        begun.elapsed()
    }

    pub async fn stop(self) {
        stop(self).await;
    }
}

/// Prints a row of the table, and asserts what holds under every fault.
pub fn row(fault: &str, names: &[&str], seen: &BTreeMap<&'static str, Seen>, back: Duration) {
    let mut cells: Vec<String> =
        names.iter().map(|name| seen.get(name).map(Seen::shown).unwrap_or_default()).collect();
    let worst = seen.values().map(|seen| seen.worst).max().unwrap_or_default();
    let lost: u64 = seen.values().map(|seen| seen.lost).sum();
    cells.push(worst.as_millis().to_string());
    cells.push(lost.to_string());
    cells.push(back.as_millis().to_string());
    println!("| {fault} | {} |", cells.join(" | "));
    assert_eq!(lost, 0, "{fault}: a request was not answered");
    assert!(worst < Duration::from_millis(deadline_ms()) + SLACK, "{fault}: {worst:?}");
}
