//! What the edge does while a dependency does harm: 200 requests a second, of each kind that there is, through a
//! proxy that injects one fault after the other. `cargo xtask bench faults` gives each 20 s, and puts the
//! tables into docs/reliability.md.

use crate::issuer::{AUDIENCE, edge};
use crate::proxy::{Fault, Proxy, said};
use crate::servers::{Process, wait_for_port};
use crate::stack::Stack;
use reqwest::Client;
use serde_json::json;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PER_SECOND: u64 = 200;
const SLACK: Duration = Duration::from_millis(1500);

/// Whether it runs beside other tests, and makes no table.
pub fn is_short() -> bool {
    seconds() < 10
}

fn seconds() -> u64 {
    std::env::var("PORTCULLIS_FAULT_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

/// The edge's own default; for a short run beside other tests, one that a busy machine can keep.
fn store_deadline_ms() -> u64 {
    if is_short() { 1000 } else { 250 }
}

/// The auth service's, and an upstream's.
fn deadline_ms() -> u64 {
    if is_short() { 2000 } else { 1000 }
}

/// A request that is sent again and again.
#[derive(Clone)]
struct Kind {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    /// Of each, one after the other.
    tokens: Vec<String>,
    body: Option<&'static str>,
    /// Its 200 would be a revoked token that was let in.
    revoked: bool,
}

impl Kind {
    fn new(name: &'static str, path: &'static str, tokens: &[String]) -> Self {
        let tokens = tokens.to_vec();
        Self { name, method: "GET", path, tokens, body: None, revoked: false }
    }

    fn request(&self, client: &Client, edge: &Stack, number: usize) -> reqwest::RequestBuilder {
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

/// What was seen of one kind.
#[derive(Default)]
struct Seen {
    statuses: BTreeMap<u16, u64>,
    /// Answers that began and did not end: what streams can't be taken back.
    cut: u64,
    /// Requests without any answer.
    lost: u64,
    worst: Duration,
}

impl Seen {
    fn shown(&self) -> String {
        let shown = self.statuses.iter().map(|(status, count)| format!("{status} × {count}"));
        let cut = (self.cut > 0).then(|| format!("cut × {}", self.cut));
        let lost = (self.lost > 0).then(|| format!("lost × {}", self.lost));
        shown.chain(cut).chain(lost).collect::<Vec<_>>().join(", ")
    }

    fn count(&self, status: u16) -> u64 {
        self.statuses.get(&status).copied().unwrap_or(0)
    }

    fn total(&self) -> u64 {
        self.statuses.values().sum::<u64>() + self.cut + self.lost
    }
}

/// The system, with a proxy between the edge and each of its dependencies.
struct Bench {
    stack: Stack,
    edge: Arc<Stack>,
    store: Proxy,
    auth: Proxy,
    upstream: Proxy,
    kinds: Vec<Kind>,
    client: Client,
}

impl Bench {
    async fn start() -> Self {
        let start = || {
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
            let edge = edge(json!({
                "STORE_DEADLINE_MS": store_deadline_ms().to_string(),
                "STORE_URL": store.url(), "STORE_TOKEN": stack.fact("edge_store_token"),
                "AUTH_URL": auth.url(), "AUTH_DEADLINE_MS": deadline_ms().to_string(),
                "UPSTREAM_URL": upstream.url(), "UPSTREAM_DEADLINE_MS": deadline_ms().to_string(),
                "BREAKER_PAUSE_MS_MAX": "1000", "LOG": "refused",
                "INTROSPECTION_SECRET": stack.fact("introspection_secret"),
                "ISSUERS": [{
                    "issuer": stack.fact("edge_url"), "audience": AUDIENCE, "algorithms": ["EdDSA"],
                    "jwks_url": format!("{}/.well-known/jwks.json", stack.fact("auth_url")),
                    "introspection": {
                        "url": format!("{}/oauth/introspect", auth.url()), "client_id": "edge",
                        "client_secret_variable": "INTROSPECTION_SECRET", "revocations_in_store": true,
                    },
                }],
                "ROUTES": [
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
        // Each fault sees some revoked tokens for the first time: the edge remembers those that it knows.
        let (mut good, mut revoked) = (Vec::new(), Vec::new());
        for number in 0..24 {
            let session = stack.login().await;
            match number {
                0..4 => good.push(session.access),
                _ => {
                    let body = json!({ "refresh_token": session.refresh });
                    let logout = crate::stack::post(&stack.edge("/auth/logout"), body).await;
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
                body: Some(r#"{"refresh_token":"nobody-was-given-this-one"}"#),
                ..kind("refresh", "/auth/refresh", &[], false)
            },
            kind("key set", "/.well-known/jwks.json", &[], false),
        ];
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(10)).build().unwrap();
        Self { stack, edge, store, auth, upstream, kinds, client }
    }

    /// Asks for each kind in turn for some time, while something happens.
    async fn load(
        &self,
        names: &[&str],
        during: impl Future<Output = ()>,
    ) -> BTreeMap<&'static str, Seen> {
        let kinds: Vec<Kind> =
            self.kinds.iter().filter(|kind| names.contains(&kind.name)).cloned().collect();
        let seen = Arc::new(Mutex::new(BTreeMap::<&'static str, Seen>::new()));
        let asked = async {
            let (begun, mut calls) = (Instant::now(), Vec::new());
            for number in 0..seconds() * PER_SECOND {
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
        tokio::join!(asked, during);
        std::mem::take(&mut *seen.lock().unwrap())
    }

    /// How long until each kind is answered as ever.
    async fn recovers(&self, names: &[&str]) -> Duration {
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

    async fn stop(self) {
        tokio::task::spawn_blocking(move || drop(self)).await.unwrap();
    }
}

/// A line of a table, and what no fault may do.
fn row(fault: &str, names: &[&str], seen: &BTreeMap<&'static str, Seen>, back: Duration) {
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

const STORE: [&str; 7] = [
    "deny",
    "introspect",
    "signature",
    "deny, revoked",
    "introspect, revoked",
    "signature, revoked",
    "public",
];

#[tokio::test]
async fn the_store_does_harm() {
    let bench = Bench::start().await;
    println!("<!-- store: {} s of each -->", seconds());
    println!("| the store | {} | worst ms | lost | back after ms |", STORE.join(" | "));
    println!("|---|{}---|---|---|", "---|".repeat(STORE.len()));
    let html = "<html>it works</html>";
    let faults = [
        ("does nothing wrong", Fault::None),
        ("refuses connections", Fault::Refuses),
        ("resets connections", Fault::Resets),
        ("hangs", Fault::Hangs),
        ("answers 100 ms late", Fault::Late { ms: 100 }),
        ("answers too late", Fault::Late { ms: store_deadline_ms() + 150 }),
        ("answers half", Fault::Half),
        ("answers garbage", said("200 OK", "text/html", html)),
        ("answers what is no HTTP", Fault::Says(b"\x00\xff garbage \r\n\r\n".to_vec())),
        (
            "answers 401",
            said("401 Unauthorized", "application/json", r#"{"error":"Unauthorized"}"#),
        ),
        (
            "answers 429",
            said("429 Too Many Requests", "application/json", r#"{"error":"slow down"}"#),
        ),
        ("answers 500", said("500 Internal Server Error", "text/plain", "oops")),
        ("says NOSCRIPT for ever", Fault::NoScript),
    ];
    bench.recovers(&STORE).await;
    for (name, fault) in faults {
        let harmless = matches!(fault, Fault::None | Fault::Late { ms: 100 } | Fault::NoScript);
        bench.store.set(fault);
        let seen = bench.load(&STORE, async {}).await;
        bench.store.set(Fault::None);
        row(name, &STORE, &seen, bench.recovers(&STORE).await);
        judge_store(name, &seen, harmless);
    }

    // Redis behind it forgets everything, and dies and comes back with what it had.
    let half = Duration::from_secs(seconds()) / 2;
    let mut redis =
        redis::Client::open(bench.stack.fact("redis_url")).unwrap().get_connection().unwrap();
    let flush = async {
        tokio::time::sleep(half).await;
        let () = redis::cmd("FLUSHALL").query(&mut redis).unwrap();
    };
    let seen = bench.load(&STORE, flush).await;
    row("is flushed in the middle", &STORE, &seen, bench.recovers(&STORE).await);
    judge_store("flushed", &seen, true);

    let folder = std::path::Path::new(bench.stack.fact("logs")).parent().unwrap().join("redis");
    let port: u16 = bench.stack.fact("redis_url").rsplit_once(':').unwrap().1.parse().unwrap();
    let mut second = None;
    let fails_over = async {
        tokio::time::sleep(half / 2).await;
        bench.stack.signal("redis", "-KILL");
        tokio::time::sleep(half).await;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--port"]);
        command.arg(port.to_string()).arg("--dir").arg(&folder);
        second = Some(Process::start(&mut command, folder.join("again.log")));
    };
    let seen = bench.load(&STORE, fails_over).await;
    let second = second.unwrap();
    wait_for_port(port, &second);
    row("dies and comes back", &STORE, &seen, bench.recovers(&STORE).await);
    judge_store("dies", &seen, false);
    println!("<!-- end of store -->");
    bench.stop().await;
    drop(second);
}

/// Whatever the store does, a revoked token passes where the route has chosen that, and nowhere else.
fn judge_store(fault: &str, seen: &BTreeMap<&'static str, Seen>, harmless: bool) {
    for name in ["deny, revoked", "introspect, revoked"] {
        assert_eq!(seen[name].count(200), 0, "{fault}: a revoked token was let in on {name}");
    }
    let all = |name: &str| seen[name].count(200) == seen[name].total();
    assert!(all("public"), "{fault}: {}", seen["public"].shown());
    assert!(all("signature"), "{fault}: {}", seen["signature"].shown());
    if harmless {
        assert!(all("deny") && all("introspect"), "{fault}: {}", seen["deny"].shown());
        assert_eq!(seen["signature, revoked"].count(200), 0, "{fault}");
    } else {
        // The harm was done: what needs the store and has no other word is refused.
        let refused = seen["deny"].count(503);
        let most =
            if fault == "dies" { seen["deny"].total() / 4 } else { seen["deny"].total() * 9 / 10 };
        assert!(refused >= most, "{fault} did nothing: {}", seen["deny"].shown());
    }
    // While it asks the auth service instead, within a rate, nearly everything goes on.
    let (good, total) = (seen["introspect"].count(200), seen["introspect"].total());
    assert!(good * 10 >= total * 8, "{fault}: {}", seen["introspect"].shown());
}

const AUTH: [&str; 5] = ["refresh", "key set", "deny", "signature", "public"];

#[tokio::test]
async fn the_auth_service_does_harm() {
    let bench = Bench::start().await;
    println!("<!-- auth: {} s of each -->", seconds());
    println!("| the auth service | {} | worst ms | lost | back after ms |", AUTH.join(" | "));
    println!("|---|{}---|---|---|", "---|".repeat(AUTH.len()));
    bench.recovers(&AUTH).await;
    for (name, fault) in harm() {
        bench.auth.set(fault);
        let seen = bench.load(&AUTH, async {}).await;
        bench.auth.set(Fault::None);
        row(name, &AUTH, &seen, bench.recovers(&AUTH).await);
        for kind in ["refresh", "key set"] {
            // A page of an auth service that failed is not for clients.
            judge_harm(name, &seen[kind], (if kind == "refresh" { 401 } else { 200 }, 502, 503));
        }
        for name in ["deny", "signature", "public"] {
            let good = seen[name].count(200) == seen[name].total();
            assert!(good, "{name}: validation needs no auth: {}", seen[name].shown());
        }
    }
    println!("<!-- end of auth -->");
    bench.stop().await;
}

const UPSTREAM: [&str; 4] = ["deny", "public", "public POST", "refresh"];

#[tokio::test]
async fn the_upstream_does_harm() {
    let bench = Bench::start().await;
    println!("<!-- upstream: {} s of each -->", seconds());
    println!("| the upstream | {} | worst ms | lost | back after ms |", UPSTREAM.join(" | "));
    println!("|---|{}---|---|---|", "---|".repeat(UPSTREAM.len()));
    bench.recovers(&UPSTREAM).await;
    for (name, fault) in harm() {
        bench.upstream.set(fault);
        let seen = bench.load(&UPSTREAM, async {}).await;
        bench.upstream.set(Fault::None);
        row(name, &UPSTREAM, &seen, bench.recovers(&UPSTREAM).await);
        for kind in ["deny", "public", "public POST"] {
            let gone = if name == "hangs" { 504 } else { 502 };
            judge_harm(name, &seen[kind], (200, 500, gone));
        }
        let good = seen["refresh"].count(401) == seen["refresh"].total();
        assert!(good, "{name}: a refresh needs no upstream: {}", seen["refresh"].shown());
    }
    println!("<!-- end of upstream -->");
    bench.stop().await;
}

/// What comes of each kind of harm: its own answer goes through, and no answer is one of the edge's.
fn judge_harm(fault: &str, seen: &Seen, (good, failed, gone): (u16, u16, u16)) {
    let expect = match fault {
        "does nothing wrong" | "answers 300 ms late" => seen.count(good),
        "answers 429" => seen.count(429),
        "answers 500" => seen.count(failed),
        "answers half" => seen.cut + seen.count(gone),
        _ => seen.count(gone),
    };
    assert_eq!(expect, seen.total(), "{fault}: {}", seen.shown());
}

/// What auth service and upstream do.
fn harm() -> Vec<(&'static str, Fault)> {
    vec![
        ("does nothing wrong", Fault::None),
        ("refuses connections", Fault::Refuses),
        ("resets connections", Fault::Resets),
        ("hangs", Fault::Hangs),
        ("answers 300 ms late", Fault::Late { ms: 300 }),
        ("answers half", Fault::Half),
        ("answers what is no HTTP", Fault::Says(b"\x00\xff garbage \r\n\r\n".to_vec())),
        ("answers 429", said("429 Too Many Requests", "text/plain", "slow down")),
        ("answers 500", said("500 Internal Server Error", "text/plain", "oops")),
    ]
}

/// A token of a clock that is an hour off is refused by name; a store's clock that jumps locks nobody out.
#[tokio::test]
async fn a_clock_is_an_hour_off() {
    use crate::issuer::{TRUSTED, claims, header, issuer_at, now, serve};
    use crate::stack::{get_with, refused};
    let vars = json!({ "ISSUERS": [issuer_at(&serve(TRUSTED.jwks()))] });
    let edge = tokio::task::spawn_blocking(move || edge(vars)).await.unwrap();
    let call = async |offset: i64| {
        let issued = now().checked_add_signed(offset).unwrap();
        let claims = claims(json!({ "iat": issued, "exp": issued + 900 }));
        get_with(&edge.edge("/api/x"), &TRUSTED.sign(&header(json!({})), &claims)).await
    };
    assert_eq!(call(0).await.status(), 200);
    refused(call(3600).await, 401, "token_not_yet_valid").await;
    refused(call(-3600).await, 401, "token_expired").await;
    tokio::task::spawn_blocking(move || drop(edge)).await.unwrap();
}
