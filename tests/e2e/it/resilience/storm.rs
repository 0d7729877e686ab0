//! Fifty clients that refresh, log out and are revoked at random, through two isolates. Afterwards
//! the database, Redis and the edge's verdicts agree.

use crate::support::chance::Chance;
use crate::support::edge::launch_edge;
use crate::support::environment::storm_seconds;
use crate::support::http::client;
use crate::support::stack::{Stack, Tokens, stop};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CLIENTS: u64 = 50;

/// The results of all clients.
#[derive(Default)]
struct Seen {
    /// Every access token that was issued.
    tokens: Mutex<Vec<String>>,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// The longest time from a revocation's response until an isolate accepted the token for the
    /// last time.
    worst: Mutex<Duration>,
    /// How many requests ended each session, or a token of it.
    ends: Mutex<BTreeMap<String, u64>>,
    /// The sessions of the requests that were answered before the store was known to have the end.
    pending: Mutex<Vec<String>>,
    wrong: Mutex<Vec<String>>,
}

impl Seen {
    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    /// Notes a request that ends a session, or a token of it.
    fn end(&self, session: &str) {
        *self.ends.lock().unwrap().entry(session.to_owned()).or_default() += 1;
    }

    /// Checks the status of such a request. With 202 the store may not have the end yet.
    fn check_end(&self, session: &str, status: u16, expect: &[u16]) {
        if status == 202 {
            self.pending.lock().unwrap().push(session.to_owned());
        } else if !expect.contains(&status) {
            self.wrong(format!("end of a session: {status}"));
        }
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().push(what);
    }
}

struct World {
    client: Client,
    stacks: [Stack; 2],
    seen: Seen,
}

impl World {
    fn url(&self, place: u64, path: &str) -> String {
        self.stacks[usize::from(place % 2 == 1)].edge(path)
    }

    async fn refresh(&self, place: u64, token: &str) -> Response {
        let body = json!({ "refresh_token": token });
        self.client.post(self.url(place, "/auth/refresh")).json(&body).send().await.unwrap()
    }

    async fn login(&self, place: u64) -> Option<Tokens> {
        let body =
            json!({ "username": self.stacks[0].username(), "password": self.stacks[0].password() });
        let answer =
            self.client.post(self.url(place, "/auth/login")).json(&body).send().await.unwrap();
        match answer.status().as_u16() {
            200 => Some(self.note(answer).await),
            // Fifty logins at once exceed the queue for argon2.
            503 => None,
            status => {
                self.seen.wrong(format!("login: {status}"));
                None
            }
        }
    }

    async fn note(&self, answer: Response) -> Tokens {
        let pair = Tokens::read(answer).await;
        self.seen.tokens.lock().unwrap().push(pair.access.clone());
        pair
    }

    async fn call(&self, place: u64, path: &str, token: &str) -> u16 {
        let request = self.client.get(self.url(place, path)).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    }

    /// Checks that a token is rejected everywhere after its revocation.
    async fn is_over(&self, token: &str) {
        let revoked = Instant::now();
        for place in 0..2 {
            for path in ["/api/x", "/api/not-revoked"] {
                loop {
                    let sent = revoked.elapsed();
                    match self.call(place, path, token).await {
                        401 => break,
                        200 if sent < Duration::from_secs(5) => {
                            let mut worst = self.seen.worst.lock().unwrap();
                            *worst = worst.max(sent);
                        }
                        status => {
                            return self
                                .seen
                                .wrong(format!("revoked, and {status} after {sent:?}"));
                        }
                    }
                }
            }
        }
    }

    /// Runs one client until the end.
    async fn live(self: Arc<Self>, name: u64, until: Instant) {
        let mut chance = Chance::new(name);
        let mut session: Option<Tokens> = None;
        while Instant::now() < until {
            let place = chance.below(2);
            let Some(own) = session.take() else {
                session = self.login(place).await;
                self.seen.count("logins");
                continue;
            };
            session = match chance.below(100) {
                0..60 => {
                    match self.call(place, "/api/x", &own.access).await {
                        200 => self.seen.count("calls"),
                        // Another client of the same user has ended the session.
                        401 => {
                            self.seen.count("ended by others");
                            continue;
                        }
                        status => self.seen.wrong(format!("call: {status}")),
                    }
                    Some(own)
                }
                60..85 => {
                    let many = 1 + chance.below(3);
                    let refreshes = (0..many).map(|more| self.refresh(place + more, &own.refresh));
                    let mut answers = Vec::new();
                    for answer in join_all(refreshes).await {
                        answers.push((answer.status().as_u16(), answer));
                    }
                    self.seen.count("refreshes");
                    let good: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
                    if good.iter().all(|status| *status == 200) {
                        let mut pairs = Vec::new();
                        for (_, answer) in answers {
                            pairs.push(self.note(answer).await);
                        }
                        if pairs.iter().any(|pair| pair.refresh != pairs[0].refresh) {
                            self.seen.wrong("two answers to one refresh".to_owned());
                        }
                        pairs.pop()
                    } else {
                        if !good.iter().all(|status| matches!(status, 200 | 401)) {
                            self.seen.wrong(format!("refresh: {good:?}"));
                        }
                        // A token that was used before ends its session.
                        self.seen.end(&session_of(&own.access));
                        None
                    }
                }
                85..92 => {
                    let session = session_of(&own.access);
                    self.seen.end(&session);
                    let request = self.client.post(self.url(place, "/auth/logout"));
                    let answer = request.bearer_auth(&own.access).send().await.unwrap();
                    self.seen.check_end(&session, answer.status().as_u16(), &[204]);
                    self.seen.count("logouts");
                    self.is_over(&own.access).await;
                    None
                }
                92..97 => {
                    let token = if chance.below(2) == 0 { &own.access } else { &own.refresh };
                    let session = session_of(&own.access);
                    self.seen.end(&session);
                    let request = self.client.post(self.url(place, "/oauth/revoke"));
                    let request =
                        request.header("content-type", "application/x-www-form-urlencoded");
                    let answer = request.body(format!("token={token}")).send().await.unwrap();
                    self.seen.check_end(&session, answer.status().as_u16(), &[200]);
                    self.seen.count("revocations");
                    self.is_over(&own.access).await;
                    // After a revocation of the access token, the session continues with its
                    // refresh token.
                    (token == &own.access).then_some(own)
                }
                _ => {
                    let request = self.client.get(self.url(place, "/auth/sessions"));
                    let answer = request.bearer_auth(&own.access).send().await.unwrap();
                    if answer.status() == 200 {
                        let list: Value = answer.json().await.unwrap();
                        let all = list["sessions"].as_array().unwrap();
                        let one = &all[usize::try_from(chance.below(all.len() as u64)).unwrap()];
                        let session = one["id"].as_str().unwrap();
                        self.seen.end(session);
                        let path = format!("/auth/sessions/{session}");
                        let request = self.client.delete(self.url(place, &path));
                        let answer = request.bearer_auth(&own.access).send().await.unwrap();
                        self.seen.check_end(session, answer.status().as_u16(), &[204, 401, 404]);
                        self.seen.count("ends of others");
                    }
                    Some(own)
                }
            };
        }
    }
}

/// Checks that an end which the store may not have yet has a cause: another client was ending the
/// same session, or the store did not reply within the auth service's timeout, which is rare.
fn check_pending(seen: &Seen, log: &str) {
    let ends = seen.ends.lock().unwrap();
    let (pending, all) = (seen.pending.lock().unwrap(), ends.values().sum::<u64>());
    let timeouts = log.lines().filter(|line| line.contains("store_not_updated")).count();
    assert!(timeouts as u64 <= 1 + all / 100, "{timeouts} timeouts of the store, {all} ends");
    let alone = pending.iter().filter(|session| ends[*session] == 1).count();
    assert!(alone <= timeouts, "{alone} ends are pending without a cause, {timeouts} timeouts");
}

/// Returns the id of an access token's session.
fn session_of(access: &str) -> String {
    let claims = URL_SAFE_NO_PAD.decode(access.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["sid"].as_str().unwrap().to_owned()
}

async fn storm(options: &'static [&'static str]) {
    let seconds = storm_seconds();
    let routes = json!([
        { "name": "refresh", "path": "/auth/refresh", "access": "auth", "endpoint": "token" },
        { "name": "logout", "path": "/auth/logout", "access": "auth", "endpoint": "revocation" },
        { "name": "revoke", "path": "/oauth/revoke", "access": "auth", "endpoint": "revocation" },
        { "name": "auth", "path": "/auth/*", "access": "auth" },
        { "name": "not-revoked", "path": "/api/not-revoked", "access": "protected", "require": "not_revoked" },
        { "name": "api", "path": "/api/*", "access": "protected" },
    ]);
    let start = move || {
        let vars = json!({ "store.timeout_ms": 5000, "auth.timeout_ms": 10000, "routes": routes });
        // The bounds below are for the load that passes wrangler.
        let options = [options, &["--engine", "wrangler"]].concat();
        let one = Stack::start(&options, Some(vars));
        let two = launch_edge(json!({
            "store.timeout_ms": 5000, "auth.timeout_ms": 10000, "routes": routes,
            "store.url": one.fact("store_url"), "STORE_TOKEN": one.fact("edge_store_token"),
            "upstream.url": one.fact("upstream_url"), "auth.url": one.fact("auth_url"),
            "INTROSPECTION_SECRET": one.fact("introspection_secret"),
            "issuers": [{
                "issuer": one.fact("edge_url"), "audience": "https://api.example", "algorithms": ["EdDSA"],
                "jwks_url": format!("{}/.well-known/jwks.json", one.fact("auth_url")),
                "introspection": {
                    "url": format!("{}/oauth/introspect", one.fact("auth_url")), "client_id": "edge",
                    "client_secret_variable": "INTROSPECTION_SECRET", "revocations_in_store": true,
                },
            }],
        }));
        [one, two]
    };
    let stacks = tokio::task::spawn_blocking(start).await.unwrap();
    let client = client();
    let world = Arc::new(World { client, stacks, seen: Seen::default() });
    let until = Instant::now() + Duration::from_secs(seconds);
    let clients: Vec<_> =
        (0..CLIENTS).map(|name| tokio::spawn(Arc::clone(&world).live(name + 1, until))).collect();
    for client in clients {
        client.await.unwrap();
    }
    let seen = &world.seen;
    let wrong = seen.wrong.lock().unwrap().clone();
    assert!(wrong.is_empty(), "{} wrong: {:?}", wrong.len(), &wrong[..wrong.len().min(10)]);

    let one = &world.stacks[0];
    check_pending(seen, &one.log("auth"));

    // Compare the database's state of each token with the edge's verdict.
    let given = seen.tokens.lock().unwrap().clone();
    let begun = Instant::now();
    while one.metric("auth_url", "portcullis_auth_outbox_rows", "").await > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the outbox is not empty");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut live = 0;
    for token in given.iter().rev().take(400) {
        let request = world.client.post(format!("{}/oauth/introspect", one.fact("auth_url")));
        let request = request.basic_auth("edge", Some(one.fact("introspection_secret")));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer: Value =
            request.body(format!("token={token}")).send().await.unwrap().json().await.unwrap();
        let good = if answer["active"] == true { 200 } else { 401 };
        live += u64::from(good == 200);
        for (place, path) in
            [(0, "/api/x"), (1, "/api/x"), (0, "/api/not-revoked"), (1, "/api/not-revoked")]
        {
            assert_eq!(world.call(place, path, token).await, good, "{path} of {place}: {answer}");
        }
    }
    assert!(live > 0 && given.len() > 100);
    // Compare the list of sessions in Redis with the database's.
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/debug/portcullis-auth");
    let mut list = std::process::Command::new(program);
    list.arg("--config").arg(one.fact("auth_config"));
    let output = list.args(["sessions", "list", "--username", one.username()]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let ids = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.map(|line| line["session"].as_str().unwrap().to_owned()).collect()
    };
    let mut redis = redis::Client::open(one.fact("redis_url")).unwrap().get_connection().unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("pc:sessions:*").query(&mut redis).unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
    let held: BTreeSet<String> =
        redis::cmd("ZRANGE").arg(&keys[0]).arg(0).arg(-1).query(&mut redis).unwrap();
    assert_eq!(held, ids(&text));
    println!(
        "storm of {seconds} s ({options:?}): {:?}, {} pending, {} tokens, worst revocation delay {:?}",
        seen.counts.lock().unwrap(),
        seen.pending.lock().unwrap().len(),
        given.len(),
        seen.worst.lock().unwrap(),
    );
    let world = Arc::into_inner(world);
    stop(world).await;
}

#[tokio::test]
async fn random_clients_leave_all_parts_consistent_on_sqlite() {
    storm(&["--auth-env", "SESSIONS_PER_USER_MAX=1000"]).await;
}

#[tokio::test]
async fn random_clients_leave_all_parts_consistent_on_postgres() {
    storm(&["--db", "postgres", "--auth-env", "SESSIONS_PER_USER_MAX=1000"]).await;
}
