//! API keys at the edge, by records as the auth service writes them: which requests pass, how soon
//! a change counts, what each request costs the store, and what made-up keys cost.

use super::limits::scene::{store, trips, unique};
use crate::support::edge::start_edge;
use crate::support::environment::on_memcached;
use crate::support::gateway::{Gateway, TOKEN};
use crate::support::http::{assert_refused, client, field};
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header, now};
use crate::support::provider::{Behaviour, Provider, answer};
use crate::support::proxy::{Fault, Proxy};
use crate::support::redis_server::Redis;
use crate::support::stack::{RECORD_ENCRYPTION_KEY, Stack, stop};
use futures_util::future::join_all;
use portcullis_core::{Seal, StoreKeys, TokenHash, api_key};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const PREFIX: &str = "pck_live_";
const INACTIVE: &str = r#"{"active":false}"#;

/// A store, the auth service's introspection, and the edges before them.
struct Scene {
    edges: Vec<Stack>,
    redis: Redis,
    gateway: Gateway,
    proxy: Proxy,
    provider: Provider,
}

impl Scene {
    async fn start(isolates: usize, delay_seconds: u32) -> Self {
        let (redis, gateway) = store().await;
        let (proxy, provider) =
            (Proxy::start(&gateway.url), Provider::start(answer(200, INACTIVE)));
        let vars = json!({
            "issuers": [{
                "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"],
                "jwks": TRUSTED.jwks(), "api_key_prefixes": PREFIX,
                "introspection": {
                    "url": provider.url("/introspect"), "client_id": "edge",
                    "client_secret_variable": "S", "revocations_in_store": true,
                },
            }],
            "S": "secret", "store.url": proxy.url(), "STORE_TOKEN": TOKEN,
            "block.refresh_seconds": 0,
            "revocation.delay_seconds_max": delay_seconds, "breaker.failures": 0,
            "identity": { "claims": { "plan": "x-plan", "/metadata/tier": "x-tier" } },
            "limits": [{ "name": "calls", "quota": 100_000, "window_seconds": 60, "by": "subject",
                "algorithm": "fixed_window" },
                { "name": "hot", "quota": 6000, "window_seconds": 60, "by": "key",
                  "timing": "leased", "lease_seconds": 5 }],
            "routes": [
                { "name": "hot", "path": "/api/hot", "access": "protected",
                  "require": "not_revoked", "limits": ["hot"], "suffixes": "same" },
                { "name": "write", "path": "/api/write", "access": "protected", "scopes": ["write"],
                  "suffixes": "same" },
                { "name": "limited", "path": "/api/limited", "access": "protected",
                  "limits": ["calls"], "suffixes": "same" },
                { "name": "login", "path": "/api/login", "access": "protected",
                  "max_age_seconds": 600, "suffixes": "same" },
                { "name": "optional", "path": "/api/optional", "access": "optional",
                  "suffixes": "same" },
                { "name": "outage", "path": "/api/outage", "access": "protected",
                  "on_store_outage": "introspect", "suffixes": "same" },
                { "name": "signature", "path": "/api/signature", "access": "protected",
                  "on_store_outage": "signature", "suffixes": "same" },
                { "name": "api", "path": "/api/*", "access": "protected",
                  "require": "not_revoked", "api_key_header": "X-API-Key", "cookie": "session" },
            ],
        });
        let edges = join_all((0..isolates).map(|_| start_edge(vars.clone()))).await;
        Self { edges, redis, gateway, proxy, provider }
    }

    fn url(&self, path: &str) -> String {
        self.edges[0].edge(path)
    }

    /// Writes the record of a key as the auth service does.
    fn put(&self, key: &str, changes: Value) {
        self.put_for(key, changes, 600_000);
    }

    fn put_for(&self, key: &str, changes: Value, life_ms: u64) {
        static NONCE: AtomicU64 = AtomicU64::new(0);
        let mut record = json!({
            "sub": "alice", "scope": "read write", "aud": AUDIENCE, "jti": "key-id",
            "iat": now() - 10, "key": {}, "others": { "plan": "basic" },
        });
        record.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let name = record_key(key);
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&NONCE.fetch_add(1, Ordering::SeqCst).to_le_bytes());
        let seal = Seal::new(RECORD_ENCRYPTION_KEY, None).unwrap();
        let value = seal.seal(&record.to_string(), &name, nonce).unwrap();
        let mut set = redis::cmd("SET");
        set.arg(name).arg(value).arg("PX").arg(life_ms);
        set.exec(&mut self.redis.connection()).unwrap();
    }

    fn delete(&self, key: &str) {
        redis::cmd("DEL").arg(record_key(key)).exec(&mut self.redis.connection()).unwrap();
    }

    /// Returns the code of a refusal by each isolate, or `200`.
    async fn codes(&self, path: &str, key: &str) -> Vec<String> {
        let mut codes = Vec::new();
        for edge in &self.edges {
            codes.push(code(client().get(edge.edge(path)).bearer_auth(key)).await);
        }
        codes
    }

    async fn all(&self, path: &str, key: &str, expect: &str) {
        assert_eq!(self.codes(path, key).await, vec![expect; self.edges.len()], "{path}");
    }

    async fn stop(self) {
        stop((self.edges, self.gateway, self.redis, self.proxy)).await;
    }
}

fn record_key(key: &str) -> String {
    StoreKeys::new("pc").token(&TokenHash::of(key))
}

/// Returns a key that nothing else has.
fn new_key() -> String {
    let mut bits = [0; 32];
    aws_lc_rs::rand::fill(&mut bits).unwrap();
    api_key::compose(PREFIX, bits)
}

async fn code(request: RequestBuilder) -> String {
    let response = request.send().await.unwrap();
    if response.status() == 200 {
        return "200".to_owned();
    }
    let body: Value = response.json().await.unwrap();
    body["code"].as_str().unwrap().to_owned()
}

/// Returns the headers that the upstream received.
async fn received(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    response.json::<Value>().await.unwrap()["headers"].clone()
}

#[tokio::test]
async fn api_key_is_read_from_two_places_and_never_forwarded() {
    if on_memcached() {
        return;
    }
    let scene = Scene::start(1, 0).await;
    let key = new_key();
    scene.put(&key, json!({ "others": { "plan": "pro", "metadata": { "tier": 7 } } }));
    let url = scene.url("/api/x");
    let by_header = || client().get(&url).header("X-API-Key", &key);
    for request in [client().get(&url).bearer_auth(&key), by_header()] {
        let headers = received(request.header("x-tier", "forged").send().await.unwrap()).await;
        assert_eq!(headers["portcullis-subject"], "alice");
        assert_eq!((&headers["x-plan"], &headers["x-tier"]), (&json!("pro"), &json!("7")));
        assert!(!headers.to_string().contains(&key[9..30]), "{headers}");
    }
    let jwt = TRUSTED.sign(&header(json!({})), &claims(json!({})));
    for (request, expect) in [
        (by_header().bearer_auth(&key), "credential_malformed"),
        (by_header().bearer_auth(&jwt), "credential_malformed"),
        (by_header().header("cookie", "session=x"), "credential_malformed"),
        (client().get(&url).header("X-API-Key", &jwt), "token_malformed"),
        (client().get(&url).header("cookie", format!("session={key}")), "token_malformed"),
        (client().get(format!("{url}?api_key={key}&access_token={key}")), "token_missing"),
        // Only a route that names the field reads it.
        (client().get(scene.url("/api/limited")).header("X-API-Key", &key), "token_missing"),
        (
            client().get(scene.url("/api/login")).bearer_auth(&key),
            "insufficient_user_authentication",
        ),
        (client().get(scene.url("/api/optional")), "200"),
        (client().get(scene.url("/api/optional")).bearer_auth(&key), "200"),
        (client().get(scene.url("/api/optional")).bearer_auth(new_key()), "token_inactive"),
        (client().get(scene.url("/api/write")).bearer_auth(&key), "200"),
    ] {
        assert_eq!(code(request).await, expect);
    }
    // A JWT that the isolate has verified is not taken in the place of keys either.
    assert_eq!(code(client().get(&url).bearer_auth(&jwt)).await, "200");
    assert_eq!(code(client().get(&url).header("X-API-Key", &jwt)).await, "token_malformed");

    // What is not well formed costs nothing.
    let (before, _) = (trips(&scene.gateway).await, scene.provider.take());
    let other = key.replace(PREFIX, "pck_test_");
    let swapped: String = key.chars().rev().collect();
    for bad in [&key[..57], &format!("{key}0"), &other, &swapped, "pck_live_", "pck_live_x.y.z"] {
        let response = client().get(&url).bearer_auth(bad).send().await.unwrap();
        let challenge = assert_refused(response, 401, "token_malformed").await;
        assert!(challenge.contains("invalid_token"), "{challenge}");
    }
    assert_eq!((trips(&scene.gateway).await, scene.provider.take().len()), (before, 0));
    let log = scene.edges[0].log("edge");
    assert!(log.contains("\"event\":\"request\"") && !log.contains(&key[9..30]));
    scene.stop().await;
}

/// Four isolates know the key. Each change of its record counts with the next request of each, and
/// a request costs one trip.
#[tokio::test]
async fn change_of_a_key_counts_with_the_next_request() {
    if on_memcached() {
        return;
    }
    let scene = Scene::start(4, 0).await;
    let key = new_key();
    scene.put(&key, json!({}));
    scene.all("/api/write", &key, "200").await;
    // The first request of an isolate reads the record, and the first limit loads its script.
    scene.all("/api/limited", &key, "200").await;
    let before = trips(&scene.gateway).await;
    for path in ["/api/write", "/api/limited", "/api/x"] {
        for _ in 0..25 {
            scene.all(path, &key, "200").await;
        }
    }
    assert_eq!(trips(&scene.gateway).await - before, 3 * 25 * 4, "one trip for each request");

    let elsewhere = json!({ "key": { "networks": ["198.51.100.0/24"] } });
    let here = json!({ "key": { "networks": ["198.51.100.0/24", "127.0.0.0/8", "::1"] } });
    for (changes, expect) in [
        (json!({ "scope": "read" }), "scope_insufficient"),
        (json!({}), "200"),
        (elsewhere, "key_network_denied"),
        (json!({}), "200"),
        (json!({ "exp": now() - 100 }), "token_expired"),
        (json!({ "exp": now() + 100 }), "200"),
        (json!({ "aud": "https://other.example" }), "token_inactive"),
        (json!({}), "200"),
    ] {
        scene.put(&key, changes.clone());
        scene.all("/api/write", &key, expect).await;
        println!("{changes}: {expect}");
    }
    // Addresses are those that the platform states.
    scene.put(&key, here);
    let request = |address: &str| {
        client().get(scene.url("/api/x")).bearer_auth(&key).header("cf-connecting-ip", address)
    };
    assert_eq!(code(request("198.51.100.9")).await, "200");
    assert_eq!(code(request("198.51.101.9")).await, "key_network_denied");
    for plan in ["gold", "iron"] {
        scene.put(&key, json!({ "others": { "plan": plan } }));
        for edge in &scene.edges {
            let request = client().get(edge.edge("/api/x")).bearer_auth(&key);
            assert_eq!(received(request.send().await.unwrap()).await["x-plan"], plan);
        }
    }
    // A revoked key has a marker, and no record. Without the marker, the issuer is asked.
    let marker = StoreKeys::new("pc").revoked_jti(ISSUER, "key-id");
    let mut redis = scene.redis.connection();
    redis::cmd("SET").arg(&marker).arg(1).exec(&mut redis).unwrap();
    scene.delete(&key);
    scene.all("/api/x", &key, "token_revoked").await;

    let other = new_key();
    redis::cmd("DEL").arg(&marker).exec(&mut redis).unwrap();
    scene.put(&other, json!({}));
    scene.all("/api/x", &other, "200").await;
    scene.delete(&other);
    scene.all("/api/x", &other, "token_inactive").await;
    scene.stop().await;
}

/// What a request with a key costs: the first one at an isolate, a later one, and one within the
/// delay. What it prints is part of the documentation.
#[tokio::test]
async fn costs_of_a_key_are_as_documented() {
    if on_memcached() {
        return;
    }
    const AWAY_MS: u64 = 40;
    const KEYS: usize = 20;
    let client = client();
    println!("| request, the store {AWAY_MS} ms away | trips | billed commands | p50 ms |");
    println!("|---|---|---|---|");
    for (delay_seconds, expect) in [(0, [2, 1, 1]), (20, [2, 0, 1])] {
        let scene = Scene::start(1, delay_seconds).await;
        let warm_up = new_key();
        scene.put(&warm_up, json!({}));
        scene.all("/api/limited", &warm_up, "200").await;
        let keys: Vec<String> = (0..KEYS).map(|_| new_key()).collect();
        keys.iter().for_each(|key| {
            let terms = json!({ "quotas": { "calls": 500 } });
            scene.put(key, json!({ "jti": unique("key"), "key": terms }));
        });
        scene.proxy.set(Fault::Late { ms: AWAY_MS });
        let steps = [("/api/x", "first"), ("/api/x", "known"), ("/api/limited", "own quota")];
        for ((path, what), expect) in steps.into_iter().zip(expect) {
            let url = scene.url(path);
            let (before, commands) = (trips(&scene.gateway).await, billed(&scene.redis));
            let mut took = Vec::new();
            for key in &keys {
                let begun = Instant::now();
                assert_eq!(code(client.get(&url).bearer_auth(key)).await, "200");
                took.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            took.sort_by(f64::total_cmp);
            let asked = trips(&scene.gateway).await - before;
            let billed = billed(&scene.redis) - commands;
            let each = |count: u64| count as f64 / KEYS as f64;
            println!(
                "| delay {delay_seconds} s, {what} | {} | {} | {:.1} |",
                each(asked),
                each(billed),
                took[KEYS / 2]
            );
            assert_eq!(asked, expect * KEYS as u64, "{what}");
        }
        scene.stop().await;
    }
}

/// The goals of leased limits hold for keys: those in use neither wait for the store nor cost it
/// much. What it prints is part of the documentation.
#[tokio::test]
async fn leased_limit_of_keys_in_use_costs_hardly_a_trip() {
    if on_memcached() {
        return;
    }
    const AWAY_MS: u64 = 40;
    const KEYS: u32 = 100;
    const ROUNDS: u32 = 30;
    const ROUND: Duration = Duration::from_millis(200);
    let scene = Scene::start(1, 5).await;
    let keys: Vec<String> = (0..KEYS).map(|_| new_key()).collect();
    keys.iter().for_each(|key| scene.put(key, json!({ "jti": unique("key") })));
    let (client, url) = (client(), scene.url("/api/hot"));
    let call = async |key: &String| {
        let begun = Instant::now();
        assert_eq!(code(client.get(&url).bearer_auth(key)).await, "200");
        begun.elapsed().as_secs_f64() * 1000.0
    };
    scene.proxy.set(Fault::Late { ms: AWAY_MS });
    // Unknown keys ask the store at a rate.
    for key in &keys {
        call(key).await;
    }
    let calls = async |rounds: u32| {
        let (begun, mut took) = (Instant::now(), Vec::new());
        for round in 0..rounds {
            let calls = (0..).zip(&keys).map(async |(number, key)| {
                let at = begun + round * ROUND + number * (ROUND / KEYS);
                tokio::time::sleep_until(at.into()).await;
                call(key).await
            });
            took.extend(join_all(calls).await);
        }
        took
    };
    // A caller's own rate is known after a few requests.
    calls(5).await;
    let (before, commands) = (trips(&scene.gateway).await, billed(&scene.redis));
    let mut took = calls(ROUNDS).await;
    let each = |count: u64| count as f64 / took.len() as f64;
    let asked = each(trips(&scene.gateway).await - before);
    let billed = each(billed(&scene.redis) - commands);
    took.sort_by(f64::total_cmp);
    let [p50, p99] = [took.len() / 2, took.len() * 99 / 100].map(|place| took[place]);
    println!(
        "| {KEYS} keys, five requests a second each | {asked:.3} | {billed:.3} | {p50:.1} | {p99:.1} |"
    );
    assert!(asked <= 0.05 && billed <= 0.3, "{asked} trips, {billed} commands");
    assert!(p50 < AWAY_MS as f64, "{p50} ms");
    scene.stop().await;
}

/// Returns how many commands Redis has run, those inside of scripts included.
fn billed(redis: &Redis) -> u64 {
    let text: String =
        redis::cmd("INFO").arg("commandstats").query(&mut redis.connection()).unwrap();
    let counted = ["evalsha", "eval", "get", "mget", "set", "time", "pttl"];
    let calls = |name: &&str| {
        let line = text.lines().find(|line| line.starts_with(&format!("cmdstat_{name}:")))?;
        line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok()
    };
    counted.iter().filter_map(calls).sum()
}

/// Who may not use a key takes nothing of its quota, and a key's own quota comes before the
/// limit's.
#[tokio::test]
async fn quota_of_a_key_is_its_own() {
    if on_memcached() {
        return;
    }
    let scene = Scene::start(1, 0).await;
    let (key, url) = (new_key(), scene.url("/api/limited"));
    let own = |quota: u32| {
        let terms = json!({ "networks": ["192.0.2.0/24"], "quotas": { "calls": quota } });
        json!({ "sub": unique("owner"), "key": terms })
    };
    let record = own(2);
    let changed = |quota: u32| {
        let mut record = record.clone();
        record["key"]["quotas"]["calls"] = quota.into();
        record
    };
    scene.put(&key, record.clone());
    let call = async |address: &str| {
        code(client().get(&url).bearer_auth(&key).header("cf-connecting-ip", address)).await
    };
    for _ in 0..5 {
        assert_eq!(call("198.51.100.1").await, "key_network_denied");
    }
    assert_eq!([call("192.0.2.1").await, call("192.0.2.2").await], ["200", "200"]);
    assert_eq!(call("192.0.2.1").await, "rate_limited");
    // A refused caller is remembered for 5 s at most.
    scene.put(&key, changed(3));
    tokio::time::sleep(Duration::from_millis(5200)).await;
    assert_eq!(call("192.0.2.1").await, "200");
    assert_eq!(call("192.0.2.1").await, "rate_limited");
    scene.stop().await;
}

/// Who may not use a genuine key asks the store at a rate, like who makes keys up.
#[tokio::test]
async fn key_used_where_it_may_not_be_costs_the_store_no_more_than_a_rate() {
    if on_memcached() {
        return;
    }
    const SHARE: u64 = 13;
    let scene = Scene::start(1, 0).await;
    let (key, url) = (new_key(), scene.url("/api/x"));
    let elsewhere = json!({ "key": { "networks": ["192.0.2.0/24"] } });
    let client = client();
    let call = async |key: &str| {
        let request = client.get(&url).bearer_auth(key);
        code(request.header("cf-connecting-ip", "203.0.113.77")).await
    };
    scene.put(&key, elsewhere.clone());
    assert_eq!(call(&key).await, "key_network_denied");
    let (before, begun) = (trips(&scene.gateway).await, Instant::now());
    for _ in 0..20 {
        let codes = join_all((0..20).map(|_| call(&key))).await;
        assert!(codes.iter().all(|code| code == "key_network_denied"), "{codes:?}");
    }
    let (asked, seconds) = (trips(&scene.gateway).await - before, begun.elapsed().as_secs() + 2);
    println!("400 requests in {:?}: {asked} trips", begun.elapsed());
    assert!(asked > 1 && asked <= 20 + SHARE * seconds, "{asked} in {seconds} s");
    // A change counts nevertheless, at the latest a second later.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    scene.put(&key, json!({}));
    assert_eq!(call(&key).await, "200");

    // New ones count like made-up keys, as long as the address has sent none that it may use.
    let scene = Scene::start(1, 0).await;
    let url = scene.url("/api/x");
    let keys: Vec<String> = (0..60).map(|_| new_key()).collect();
    keys.iter().for_each(|key| scene.put(key, elsewhere.clone()));
    let begun = Instant::now();
    let codes = join_all(keys.iter().map(|key| {
        let request = client.get(&url).bearer_auth(key);
        code(request.header("cf-connecting-ip", "203.0.113.77"))
    }))
    .await;
    let read = codes.iter().filter(|code| *code == "key_network_denied").count() as u64;
    let busy = codes.iter().filter(|code| *code == "introspection_busy").count() as u64;
    assert_eq!(read + busy, 60, "{codes:?}");
    assert!(read > 0 && read <= SHARE * (begun.elapsed().as_secs() + 2), "{read}");
    scene.stop().await;
}

/// Both keys of a roll work until the grace ends.
#[tokio::test]
async fn rolled_key_works_until_its_grace_ends() {
    if on_memcached() {
        return;
    }
    let scene = Scene::start(2, 0).await;
    let (old, new) = (new_key(), new_key());
    scene.put(&old, json!({}));
    scene.all("/api/x", &old, "200").await;
    let rolled = Instant::now();
    scene.put_for(&old, json!({}), 3000);
    scene.put(&new, json!({}));
    while rolled.elapsed() < Duration::from_millis(2000) {
        scene.all("/api/x", &old, "200").await;
        scene.all("/api/x", &new, "200").await;
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    scene.all("/api/x", &old, "token_inactive").await;
    scene.all("/api/x", &new, "200").await;
    scene.stop().await;
}

/// With a bound for revocations, a key in use costs the store little, and a change counts within
/// the bound in each isolate.
#[tokio::test]
async fn change_of_a_key_counts_within_the_bound() {
    if on_memcached() {
        return;
    }
    const BOUND: Duration = Duration::from_secs(2);
    let scene = Scene::start(4, 2).await;
    let key = new_key();
    scene.put(&key, json!({}));
    scene.all("/api/write", &key, "200").await;
    let before = trips(&scene.gateway).await;
    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < 2 * BOUND {
        scene.all("/api/write", &key, "200").await;
        sent += 4;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = trips(&scene.gateway).await - before;
    println!("{sent} requests of four isolates in 4 s asked the store {asked} times");
    assert!((4..=20).contains(&asked), "{asked}");
    for (record, expect) in
        [(Some(json!({ "scope": "read" })), "scope_insufficient"), (None, "token_inactive")]
    {
        match record {
            Some(record) => scene.put(&key, record),
            None => {
                scene.put(&key, json!({}));
                tokio::time::sleep(BOUND).await;
                scene.all("/api/write", &key, "200").await;
                scene.delete(&key);
            }
        }
        let (changed, mut last_accepted) = (Instant::now(), Duration::ZERO);
        while changed.elapsed() < BOUND + Duration::from_secs(1) {
            let at = changed.elapsed();
            let codes = scene.codes("/api/write", &key).await;
            if codes.iter().any(|code| code == "200") {
                last_accepted = at;
            }
            assert!(codes.iter().all(|code| code == "200" || code == expect), "{codes:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        println!("{expect}: last accepted after {last_accepted:?}");
        assert!(last_accepted <= BOUND && last_accepted > Duration::ZERO, "{last_accepted:?}");
    }
    scene.stop().await;
}

/// The auth service knows what the store has lost. The edge writes no record of a key.
#[tokio::test]
async fn lost_record_is_introspected_and_an_outage_follows_the_route() {
    if on_memcached() {
        return;
    }
    let scene = Scene::start(1, 0).await;
    let (known, lost) = (new_key(), new_key());
    let active = |scope: &str| {
        json!({
            "active": true, "sub": "alice", "scope": scope, "jti": "k", "aud": AUDIENCE,
            "iss": ISSUER, "plan": "pro", "key": { "quotas": {} }, "token_type": "Bearer",
        })
        .to_string()
    };
    let answers = |key: &str, scope: &str| Behaviour::Answers {
        containing: format!("token={key}"),
        body: active(scope),
        otherwise: INACTIVE.to_owned(),
    };
    scene.provider.behave(answers(&lost, "read"));
    let request = |path: &str, key: &str| client().get(scene.url(path)).bearer_auth(key);
    let headers = received(request("/api/x", &lost).send().await.unwrap()).await;
    assert_eq!((&headers["x-plan"], scene.provider.take().len()), (&json!("pro"), 1));
    assert_eq!(code(request("/api/write", &lost)).await, "scope_insufficient");
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("pc:token:*").query(&mut scene.redis.connection()).unwrap();
    assert_eq!(keys, [""; 0], "the edge wrote a record");
    // The auth service publishes it again.
    scene.put(&lost, json!({}));
    scene.provider.take();
    assert_eq!(code(request("/api/write", &lost)).await, "200");
    assert_eq!(scene.provider.take(), [""; 0]);

    scene.put(&known, json!({}));
    for path in ["/api/x", "/api/outage", "/api/signature"] {
        assert_eq!(code(request(path, &known)).await, "200");
    }
    scene.proxy.set(Fault::Refuses);
    for key in [&known, &new_key()] {
        for path in ["/api/x", "/api/signature"] {
            assert_eq!(code(request(path, key)).await, "store_unreachable", "{path}");
        }
    }
    scene.provider.behave(answers(&known, "read"));
    let response = request("/api/outage", &known).send().await.unwrap();
    assert_eq!(field(&response, "portcullis-degraded"), "token=introspect");
    assert_eq!(received(response).await["portcullis-scope"], "read", "as the issuer says now");
    assert_eq!(code(request("/api/outage", &new_key())).await, "token_inactive");
    scene.provider.behave(Behaviour::Hangs);
    assert_eq!(code(request("/api/outage", &known)).await, "introspection_unreachable");
    scene.proxy.set(Fault::None);
    assert_eq!(code(request("/api/write", &known)).await, "200");
    scene.stop().await;
}

/// 20,000 made-up keys of good form, half of them from one address and half from 250. They cost the
/// store no more than the rate. Genuine keys pass meanwhile: those that the isolate knows, and new
/// ones of addresses that have sent one before.
#[tokio::test]
async fn made_up_keys_cost_the_store_no_more_than_the_rate() {
    if on_memcached() {
        return;
    }
    const FLOOD: usize = 20_000;
    const PER_SECOND: u64 = 50;
    let scene = Scene::start(1, 0).await;
    let (known, url) = (new_key(), scene.url("/api/x"));
    scene.put(&known, json!({}));
    let client = client();
    let call = async |address: &str, key: &str| {
        code(client.get(&url).bearer_auth(key).header("cf-connecting-ip", address)).await
    };
    assert_eq!(call("192.0.2.1", &known).await, "200");
    // A rejected key costs nothing for a second.
    let rejected = new_key();
    assert_eq!(call("192.0.2.9", &rejected).await, "token_inactive");
    let before = trips(&scene.gateway).await;
    assert_eq!(call("192.0.2.9", &rejected).await, "token_inactive");
    assert_eq!(trips(&scene.gateway).await, before);
    scene.provider.take();

    let (begun, mut genuine, mut slowest, mut busy) = (Instant::now(), 0, Duration::ZERO, 0);
    for batch in 0..FLOOD / 100 {
        let flood = (0..100).map(|place| {
            let number = batch * 100 + place;
            let address = match number % 2 {
                0 => "203.0.113.66".to_owned(),
                _ => format!("198.51.100.{}", number / 2 % 250),
            };
            async move { (address, new_key()) }
        });
        let flood = join_all(flood).await;
        let calls = join_all(flood.iter().map(|(address, key)| call(address, key)));
        let new = new_key();
        scene.put(&new, json!({}));
        let unknown = async {
            let sent = Instant::now();
            // Also from an address of the flood.
            assert_eq!(call("203.0.113.66", &known).await, "200", "a key that the isolate knows");
            assert_eq!(call("192.0.2.1", &new).await, "200", "a new key");
            sent.elapsed()
        };
        let (codes, took) = tokio::join!(calls, unknown);
        genuine += 3;
        slowest = slowest.max(took);
        for code in codes {
            busy += usize::from(code == "introspection_busy");
            assert!(matches!(code.as_str(), "introspection_busy" | "token_inactive"), "{code}");
        }
    }
    let seconds = begun.elapsed().as_secs() + 2;
    let asked = trips(&scene.gateway).await - before - genuine;
    let introspected = scene.provider.take().len() as u64;
    println!(
        "{FLOOD} made-up keys in {:?}: {asked} trips to the store, {introspected} introspections, \
         {busy} refused without either; genuine keys took {slowest:?} at most",
        begun.elapsed()
    );
    assert!(asked <= PER_SECOND * seconds, "{asked} trips in {seconds} s");
    assert!(introspected <= PER_SECOND * seconds, "{introspected} in {seconds} s");
    assert!(asked >= 25 && busy > FLOOD / 2, "{asked} {busy}");
    scene.stop().await;
}

/// A block of one key leaves the owner's other keys alone, and its end counts within a second.
#[tokio::test]
async fn blocked_key_is_refused_with_the_next_request_of_each_isolate() {
    if on_memcached() {
        return;
    }
    let scene = Scene::start(2, 0).await;
    let (key, other, jti) = (new_key(), new_key(), unique("key"));
    scene.put(&key, json!({ "jti": jti }));
    scene.put(&other, json!({}));
    scene.all("/api/x", &key, "200").await;
    let block = StoreKeys::new("pc").block("key", ISSUER, &jti);
    let mut redis = scene.redis.connection();
    redis::cmd("SET").arg(&block).arg("{}").arg("EX").arg(60).exec(&mut redis).unwrap();
    scene.all("/api/x", &key, "blocked").await;
    scene.all("/api/limited", &key, "blocked").await;
    scene.all("/api/x", &other, "200").await;
    // A JWT with the same id is not blocked.
    let jwt = TRUSTED.sign(&header(json!({})), &claims(json!({ "jti": jti })));
    scene.all("/api/x", &jwt, "200").await;
    redis::cmd("DEL").arg(&block).exec(&mut redis).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    scene.all("/api/x", &key, "200").await;
    scene.stop().await;
}
