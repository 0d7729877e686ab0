//! Revocations that a provider pushes: logout tokens, security event tokens, global revocation.

use crate::support::chance::Chance;
use crate::support::edge::start_edge;
use crate::support::gateway::Gateway;
use crate::support::http::{client, field, get_with};
use crate::support::issuer::{
    AUDIENCE, ISSUER, Issuer, TRUSTED, claims, header, issuer_at, now, serve,
};
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::provider::Provider;
use crate::support::proxy::{Fault, Proxy};
use crate::support::redis_server::Redis;
use crate::support::stack::{Stack, stop};
use futures_util::StreamExt as _;
use portcullis_core::{REVOKE_SCRIPT, StoreKeys, TokenHash};
use redis::Commands as _;
use reqwest::Client;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const EDGE: &str = "edge-edge-edge-edge-edge-edge-edge";
const AUTH: &str = "auth-auth-auth-auth-auth-auth-auth";
const URL: &str = "https://api.example/events";
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type";
const OTHER_ISSUER: &str = "https://other.example";

/// Another issuer that the edge trusts.
static OTHER: LazyLock<Issuer> = LazyLock::new(Issuer::new);

/// An edge with the documented token of the redis gateway, before a store of its own.
struct Scene {
    edge: Stack,
    store: Proxy,
    redis: Redis,
    /// The server of the trusted issuer's keys.
    keys: Provider,
    _gateway: Gateway,
}

impl Scene {
    /// Starts an edge. `more` are issuers besides the two that all scenes have.
    async fn start(more: Vec<Value>) -> Self {
        let redis = Redis::start(&[]);
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis-gateway-tokens.toml");
        let documented = std::fs::read_to_string(file).unwrap();
        let tokens = documented.replace("EDGE_TOKEN", EDGE).replace("AUTH_TOKEN", AUTH);
        let folder = Folder::new();
        let file = folder.write("tokens.toml", &tokens).to_str().unwrap().to_owned();
        let gateway =
            Gateway::start_in(folder, &redis.url(), &[("GATEWAY_TOKENS_FILE", file.as_str())]);
        gateway.ready().await;
        let store = Proxy::start(&gateway.url);
        let keys = Provider::serving(&TRUSTED.jwks().to_string());
        let rules = json!({ "audience": ["edge", URL],
            "accept": ["logout", "security_events", "global_revocation"] });
        let mut trusted = issuer_at(&keys.url("/jwks"));
        trusted["events"] = rules.clone();
        let mut other = issuer_at(&serve(OTHER.jwks()));
        other["issuer"] = OTHER_ISSUER.into();
        other["events"] = rules;
        let mut issuers = vec![trusted, other];
        issuers.extend(more);
        let vars = json!({
            "store.url": store.url(), "STORE_TOKEN": EDGE, "store.timeout_ms": 1000,
            "breaker.failures": 0, "issuers": issuers,
            "routes": [
                { "name": "events", "path": "/events", "access": "events" },
                { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
            ],
        });
        Self { edge: start_edge(vars).await, store, redis, keys, _gateway: gateway }
    }

    async fn push(&self, event: &Push) -> (u16, Value) {
        event.send(&client(), &self.edge.edge("/events")).await
    }

    async fn api(&self, token: &str) -> u16 {
        get_with(&self.edge.edge("/api/x"), token).await.status().as_u16()
    }

    /// Returns how often Redis ran a command that reads or writes.
    fn commands(&self) -> u64 {
        let text: String =
            redis::cmd("INFO").arg("commandstats").query(&mut self.redis.connection()).unwrap();
        let calls = text.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let counted = ["eval", "evalsha", "get", "mget", "set", "del", "pttl", "expire"];
            let count = rest.split(',').next()?.parse::<u64>().ok()?;
            counted.contains(&name).then_some(count)
        });
        calls.sum()
    }

    /// Returns all that Redis has, with the time at which each key ends.
    fn held(&self) -> Vec<(String, String, i64)> {
        let mut connection = self.redis.connection();
        let keys: Vec<String> = connection.keys("*").unwrap();
        let mut held: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let value = connection.get(&key).unwrap();
                let ends = redis::cmd("PEXPIRETIME").arg(&key).query(&mut connection).unwrap();
                (key, value, ends)
            })
            .collect();
        held.sort();
        held
    }

    /// Waits until the line of a request is in the log, and returns it.
    async fn line(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..50 {
            let log = self.edge.log("edge");
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            if let Some(line) = lines.filter(&is_it).last() {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no such line:\n{}", self.edge.log("edge"));
    }
}

/// A request with an event.
#[derive(Clone)]
struct Push {
    media_type: &'static str,
    body: String,
    bearer: Option<String>,
}

impl Push {
    fn logout(token: &str) -> Self {
        let media_type = "application/x-www-form-urlencoded";
        Self { media_type, body: format!("logout_token={token}"), bearer: None }
    }

    fn security_event(token: &str) -> Self {
        Self { media_type: "application/secevent+jwt", body: token.to_owned(), bearer: None }
    }

    fn global(token: &str, subject: &Value) -> Self {
        let body = json!({ "sub_id": subject }).to_string();
        Self { media_type: "application/json", body, bearer: Some(token.to_owned()) }
    }

    async fn send(&self, client: &Client, url: &str) -> (u16, Value) {
        let request = client.post(url).header("content-type", self.media_type);
        let request = match &self.bearer {
            Some(token) => request.bearer_auth(token),
            None => request,
        };
        let answer = request.body(self.body.clone()).send().await.unwrap();
        let (status, retry_after) = (answer.status().as_u16(), field(&answer, "retry-after"));
        assert_eq!(status == 503, !retry_after.is_empty(), "{retry_after}");
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

/// Returns the time in ms since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Returns a name that no other test has.
fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

fn user(sub: &str) -> Value {
    json!({ "format": "iss_sub", "iss": ISSUER, "sub": sub })
}

/// Returns the header of an event of this `typ`, with changes.
fn event_header(typ: &str, changes: Value) -> Value {
    let mut all = json!({ "typ": typ });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    header(all)
}

/// Returns the claims of an event that was issued now, with changes.
fn event_claims(changes: Value) -> Value {
    let mut all = json!({ "aud": "edge", "jti": unique("event"), "exp": null, "sub": null, "sid": null,
        "client_id": null, "scope": null });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    claims(all)
}

fn logout(changes: Value) -> String {
    let mut all = json!({ "events": { LOGOUT: {} } });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    TRUSTED.sign(&event_header("logout+jwt", json!({})), &event_claims(all))
}

fn security_event(uri: &str, subject: &Value) -> String {
    let claims = event_claims(json!({ "sub_id": subject, "events": { uri: {} } }));
    TRUSTED.sign(&event_header("secevent+jwt", json!({})), &claims)
}

fn global() -> String {
    let claims = event_claims(json!({ "aud": URL, "sub": "caller", "exp": now() + 300 }));
    TRUSTED.sign(&event_header("global-token-revocation+jwt", json!({})), &claims)
}

/// Returns an access token of this subject and session.
fn access(sub: &str, sid: &str) -> String {
    let claims = claims(json!({ "sub": sub, "sid": sid, "jti": unique("token") }));
    TRUSTED.sign(&header(json!({})), &claims)
}

#[tokio::test]
async fn pushed_event_revokes_with_the_next_request() {
    let [port] = free_ports();
    let folder = Folder::new();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut node = Command::new(format!("{root}/node_modules/.bin/node"));
    node.arg(format!("{root}/tests/e2e/clients/events.mjs")).arg(port.to_string());
    let signer = Process::start(&mut node, folder.file("log"));
    wait_for_port(port, &signer);
    let signer_url = format!("http://127.0.0.1:{port}");
    let jose = json!({
        "issuer": "https://jose.example", "audience": AUDIENCE, "algorithms": ["ES256"],
        "jwks_url": format!("{signer_url}/jwks"), "token_type": "jwt",
        "events": { "accept": ["security_events"], "audience": "edge", "issuer": "https://jose.example/",
            "jwks_url": format!("{signer_url}/jwks"), "algorithms": ["RS256"],
            "emails_are_subjects": true },
    });
    let scene = Scene::start(vec![jose]).await;

    // Each event, and whether it ends: the session, the user's other session, the other user.
    let opaque = |id: &str| json!({ "format": "opaque", "id": id });
    for (name, status, ends) in [
        ("logout of a session", 200, [true, false]),
        ("logout of a user", 200, [true, true]),
        ("session-revoked", 202, [true, false]),
        ("session-revoked, complex", 202, [true, false]),
        ("session-revoked of a user", 202, [true, true]),
        ("credential-change", 202, [true, true]),
        ("token-claims-change", 202, [true, true]),
        ("account-disabled", 202, [true, true]),
        ("global revocation", 204, [true, true]),
        ("verification", 202, [false, false]),
        ("stream-updated", 202, [false, false]),
        ("account-enabled", 202, [false, false]),
        ("unknown", 202, [false, false]),
    ] {
        let (sub, [one, two]) = (unique("user"), [unique("s"), unique("s")]);
        let tokens = [access(&sub, &one), access(&sub, &two)];
        let bystander = access(&unique("user"), &unique("s"));
        for token in tokens.iter().chain([&bystander]) {
            assert_eq!(scene.api(token).await, 200, "{name}");
        }
        let event =
            |uri: String, subject: Value| Push::security_event(&security_event(&uri, &subject));
        let event = match name {
            "logout of a session" => Push::logout(&logout(json!({ "sub": sub, "sid": one }))),
            "logout of a user" => Push::logout(&logout(json!({ "sub": sub }))),
            "session-revoked" => event(format!("{CAEP}/session-revoked"), opaque(&one)),
            "session-revoked, complex" => {
                let subject =
                    json!({ "format": "complex", "user": user(&sub), "session": opaque(&one) });
                event(format!("{CAEP}/session-revoked"), subject)
            }
            "session-revoked of a user" => event(format!("{CAEP}/session-revoked"), user(&sub)),
            "credential-change" | "token-claims-change" => {
                event(format!("{CAEP}/{name}"), user(&sub))
            }
            "global revocation" => Push::global(&global(), &user(&sub)),
            "verification" | "stream-updated" => {
                let uri = format!("https://schemas.openid.net/secevent/ssf/event-type/{name}");
                let payload = json!({ "status": "paused", "state": "x" });
                let claims = json!({ "sub_id": opaque("stream"), "events": { uri: payload } });
                let header = event_header("secevent+jwt", json!({}));
                Push::security_event(&TRUSTED.sign(&header, &event_claims(claims)))
            }
            _ => event(format!("{RISC}/{name}"), user(&sub)),
        };
        assert_eq!(scene.push(&event).await, (status, Value::Null), "{name}");
        for (token, ended) in tokens.iter().zip(ends) {
            assert_eq!(scene.api(token).await, if ended { 401 } else { 200 }, "{name}");
        }
        assert_eq!(scene.api(&bystander).await, 200, "{name}");
        if matches!(name, "logout of a user" | "account-disabled" | "global revocation") {
            // A later login works, and a repeated event does not end it.
            tokio::time::sleep(Duration::from_millis(1100)).await;
            let later = access(&sub, &unique("s"));
            assert_eq!(scene.api(&later).await, 200, "{name}");
            let before = scene.held();
            assert_eq!(scene.push(&event).await.0, status, "{name}");
            assert_eq!(scene.api(&later).await, 200, "{name}");
            assert_eq!(scene.held(), before, "{name}");
        }
    }
    let line = scene.line(|line| line["event_type"] == "account-disabled").await;
    assert_eq!((&line["route"], &line["outcome"]), (&json!("events"), &json!("answered")));
    scene.line(|line| line["event_result"] == "repeated").await;
    scene.line(|line| line["event_result"] == "stream_stopped").await;

    // Another library's signature, by keys of the events' own.
    let sign = async |alg: &str, header: Value, claims: Value| {
        let body = json!({ "alg": alg, "header": header, "claims": claims });
        let answer = client().post(format!("{signer_url}/sign")).json(&body).send().await.unwrap();
        answer.text().await.unwrap()
    };
    let time = now();
    let claims = json!({ "iss": "https://jose.example", "aud": AUDIENCE, "sub": "a@example.org",
        "iat": time, "exp": time + 600 });
    let token = sign("ES256", json!({ "typ": "JWT" }), claims).await;
    assert_eq!(scene.api(&token).await, 200);
    let set = json!({ "iss": "https://jose.example/", "aud": "edge", "iat": time, "jti": "j1",
        "events": { format!("{RISC}/account-purged"): {
            "subject": { "subject_type": "email", "email": "a@example.org" } } } });
    let wrong = sign("ES256", json!({ "typ": "secevent+jwt" }), set.clone()).await;
    let (status, body) = scene.push(&Push::security_event(&wrong)).await;
    assert_eq!((status, &body["err"]), (400, &json!("invalid_key")), "{body}");
    assert_eq!(scene.api(&token).await, 200);
    let right = sign("RS256", json!({ "typ": "secevent+jwt" }), set).await;
    assert_eq!(scene.push(&Push::security_event(&right)).await.0, 202);
    assert_eq!(scene.api(&token).await, 401);
    stop((scene.edge, signer)).await;
}

#[tokio::test]
async fn event_is_accepted_only_once_the_store_has_it() {
    let scene = Scene::start(Vec::new()).await;
    let sub = unique("user");
    let token = access(&sub, &unique("s"));
    assert_eq!(scene.api(&token).await, 200);
    let event =
        Push::security_event(&security_event(&format!("{RISC}/account-disabled"), &user(&sub)));
    for fault in [Fault::Refuses, Fault::Hangs, Fault::Half] {
        scene.store.set(fault.clone());
        let (status, body) = scene.push(&event).await;
        assert_eq!(status, 503, "{fault:?}: {body}");
        assert!(body["code"].as_str().unwrap().starts_with("store_"), "{body}");
        scene.store.set(Fault::None);
    }
    // The last attempt may have reached the store. Whatever it wrote, the repetition completes it.
    assert_eq!(scene.push(&event).await.0, 202);
    assert_eq!(scene.api(&token).await, 401);

    // The store has the event, and not its marker: as if the edge had died in between.
    let sub = unique("user");
    let token = access(&sub, &unique("s"));
    let mut connection = scene.redis.connection();
    let before: Vec<String> = connection.keys("pc:event:*").unwrap();
    let jti = unique("half");
    let claims = event_claims(json!({ "jti": jti, "sub": sub, "events": { LOGOUT: {} } }));
    let event = Push::logout(&TRUSTED.sign(&event_header("logout+jwt", json!({})), &claims));
    let keys = StoreKeys::new("pc");
    let content = TokenHash::of(&keys.revoked_sub(ISSUER, &sub));
    let value = format!("{}:{content}", now());
    let () = connection.set_ex(keys.event(ISSUER, &jti), value, 600).unwrap();
    assert_eq!(scene.push(&event).await.0, 200);
    assert_eq!(scene.api(&token).await, 401);
    let after: Vec<String> = connection.keys("pc:event:*").unwrap();
    assert_eq!(after.len(), before.len() + 1);

    // The subject of a global revocation is not signed: its token works for one subject alone.
    let [one, two] = [unique("user"), unique("user")];
    let (token, kept) = (global(), access(&two, &unique("s")));
    assert_eq!(scene.push(&Push::global(&token, &user(&one))).await.0, 204);
    let (status, body) = scene.push(&Push::global(&token, &user(&two))).await;
    assert_eq!((status, &body["code"]), (400, &json!("event_malformed")), "{body}");
    assert_eq!(scene.api(&kept).await, 200);

    // Keys that can't be fetched are no reason to give up either.
    let unknown = TRUSTED.sign(
        &event_header("logout+jwt", json!({ "kid": "new" })),
        &event_claims(json!({ "sub": "u", "events": { LOGOUT: {} } })),
    );
    scene.keys.behave(crate::support::provider::Behaviour::Hangs);
    let (status, body) = scene.push(&Push::logout(&unknown)).await;
    assert_eq!((status, &body["code"]), (503, &json!("keys_unavailable")), "{body}");
    stop(scene.edge).await;
}

/// Returns hostile events, each with its description, its status and its code. `seen` took effect
/// before.
fn hostile(seen: &Push) -> Vec<(&'static str, Push, u16, &'static str)> {
    let sub = "alice";
    let typed = |typ: &str, header: Value, claims: Value| {
        TRUSTED.sign(&event_header(typ, header), &event_claims(claims))
    };
    let logout_claims = |changes: Value| {
        let mut all = json!({ "sub": sub, "events": { LOGOUT: {} } });
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        all
    };
    let logout = |header: Value, claims: Value| {
        Push::logout(&typed("logout+jwt", header, logout_claims(claims)))
    };
    let none = || json!({});
    let disabled = format!("{RISC}/account-disabled");
    let set = |subject: Value| Push::security_event(&security_event(&disabled, &subject));
    let foreign = json!({ "format": "iss_sub", "iss": OTHER_ISSUER, "sub": sub });
    // Signed by the trusted issuer, or by another one in its name.
    let in_its_name = |issuer: &Issuer| {
        issuer.sign(&event_header("logout+jwt", none()), &event_claims(logout_claims(none())))
    };
    let good = in_its_name(&TRUSTED);
    let (input, _) = good.rsplit_once('.').unwrap();
    let unsigned = TRUSTED.sign(
        &event_header("logout+jwt", json!({ "alg": "none" })),
        &event_claims(logout_claims(none())),
    );
    let (unsigned, _) = unsigned.rsplit_once('.').unwrap();
    let id_token = json!({ "typ": "JWT" });
    let id_claims = json!({ "sub": sub, "nonce": "n", "exp": now() + 300, "at_hash": "h" });
    let id_token = TRUSTED.sign(&header(id_token), &event_claims(id_claims));
    let token = access(sub, "s");
    let (tail, padding) = (format!("{input}.AAAA"), "x".repeat(17_000));
    vec![
        ("an ID token", Push::logout(&id_token), 400, "event_type_refused"),
        ("an access token", Push::logout(&token), 400, "event_type_refused"),
        ("an access token as SET", Push::security_event(&token), 400, "event_type_refused"),
        ("an access token as bearer", Push::global(&token, &user(sub)), 401, "event_type_refused"),
        ("a logout token as SET", Push::security_event(&good), 400, "event_type_refused"),
        ("a logout token as bearer", Push::global(&good, &user(sub)), 401, "event_type_refused"),
        ("a replay", seen.clone(), 200, ""),
        ("a foreign subject", set(foreign.clone()), 400, "subject_refused"),
        ("a foreign subject, global", Push::global(&global(), &foreign), 400, "subject_refused"),
        (
            "a tenant",
            set(json!({ "format": "complex", "tenant": user(sub) })),
            400,
            "subject_refused",
        ),
        ("an address", set(json!({ "format": "email", "email": sub })), 400, "subject_refused"),
        ("no subject", set(json!({})), 400, "event_malformed"),
        ("another audience", logout(none(), json!({ "aud": AUDIENCE })), 400, "audience_mismatch"),
        ("no audience", logout(none(), json!({ "aud": null })), 400, "claim_missing"),
        (
            "another issuer",
            logout(none(), json!({ "iss": "https://x.example" })),
            400,
            "issuer_unknown",
        ),
        (
            "the issuer with a slash",
            logout(none(), json!({ "iss": format!("{ISSUER}/") })),
            400,
            "issuer_unknown",
        ),
        ("another issuer's key", Push::logout(&in_its_name(&OTHER)), 400, "signature_invalid"),
        (
            "the issuer of another key",
            logout(none(), json!({ "iss": OTHER_ISSUER })),
            400,
            "signature_invalid",
        ),
        ("a nonce", logout(none(), json!({ "nonce": "n" })), 400, "event_malformed"),
        ("the future", logout(none(), json!({ "iat": now() + 120 })), 400, "token_not_yet_valid"),
        ("the past", logout(none(), json!({ "iat": now() - 90_000 })), 400, "token_expired"),
        ("an end", logout(none(), json!({ "exp": now() - 60 })), 400, "token_expired"),
        ("no jti", logout(none(), json!({ "jti": null })), 400, "claim_missing"),
        ("a long jti", logout(none(), json!({ "jti": "x".repeat(300) })), 400, "event_malformed"),
        ("no signature", Push::logout(&format!("{unsigned}.")), 400, "algorithm_refused"),
        ("HS256", logout(json!({ "alg": "HS256" }), none()), 400, "algorithm_refused"),
        (
            "a key of its own",
            logout(json!({ "jwk": TRUSTED.jwk("k1") }), none()),
            400,
            "token_malformed",
        ),
        ("a damaged signature", Push::logout(&tail), 400, "signature_invalid"),
        (
            "two events",
            logout(none(), json!({ "events": { LOGOUT: {}, disabled.clone(): {} } })),
            400,
            "event_malformed",
        ),
        ("no event", logout(none(), json!({ "events": {} })), 400, "event_malformed"),
        (
            "an event that is no object",
            logout(none(), json!({ "events": { LOGOUT: true } })),
            400,
            "event_malformed",
        ),
        ("neither sub nor sid", logout(none(), json!({ "sub": null })), 400, "event_malformed"),
        (
            "an unknown type",
            Push::security_event(&security_event("https://x.example/e", &user(sub))),
            202,
            "",
        ),
        (
            "two tokens",
            Push { body: format!("logout_token={good}&logout_token={good}"), ..Push::logout("") },
            400,
            "event_malformed",
        ),
        ("a JWE", Push::logout("e30.e30.e30.e30.e30"), 400, "token_malformed"),
        ("garbage", Push::security_event("\u{0}\u{1}garbage"), 400, "token_malformed"),
        ("nothing", Push::security_event(""), 400, "token_malformed"),
        ("no bearer", Push { bearer: None, ..Push::global("x", &user(sub)) }, 401, "token_missing"),
        (
            "another media type",
            Push { media_type: "text/plain", ..Push::logout(&good) },
            400,
            "event_malformed",
        ),
        ("too much", Push { body: padding, ..Push::logout("") }, 413, "body_too_large"),
    ]
}

#[tokio::test]
async fn hostile_events_leave_the_store_untouched() {
    let scene = Scene::start(Vec::new()).await;
    let (alice, bob) = (access("alice", "s"), access("bob", "s-bob"));
    // The key sets are fetched, and an event takes effect that is replayed.
    let seen = Push::logout(&logout(json!({ "sub": "carol" })));
    assert_eq!(scene.push(&seen).await.0, 200);
    let other = event_claims(json!({ "iss": OTHER_ISSUER, "sub": "x", "events": { LOGOUT: {} } }));
    let other = OTHER.sign(&event_header("logout+jwt", json!({})), &other);
    assert_eq!(scene.push(&Push::logout(&other)).await.0, 200);
    assert_eq!((scene.api(&alice).await, scene.api(&bob).await), (200, 200));

    let (held, table, commands) = (scene.held(), hostile(&seen), scene.commands());
    for (name, event, status, code) in &table {
        let (got, body) = scene.push(event).await;
        let got_code = body["code"].as_str().unwrap_or_default();
        assert_eq!((got, got_code), (*status, *code), "{name}: {body}");
        let own = match event.media_type {
            "application/secevent+jwt" => "err",
            "application/x-www-form-urlencoded" => "error",
            _ => "title",
        };
        if *status == 400 {
            assert!(body[own].is_string(), "{name}: {body}");
        }
    }
    for method in ["GET", "PUT", "OPTIONS"] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = client().request(method, scene.edge.edge("/events"));
        let request = request.header("origin", "https://app.example");
        let request = request.header("access-control-request-method", "POST");
        assert_eq!(request.send().await.unwrap().status(), 405);
    }
    assert_eq!(scene.commands(), commands, "a hostile event reached the store");
    assert_eq!(scene.held(), held);
    assert_eq!(scene.api(&alice).await, 200);

    // A flood of them. Tokens of unknown keys cost the issuer no more than four requests.
    scene.keys.take();
    let unknown_key = |at: usize| {
        let header = event_header("logout+jwt", json!({ "kid": format!("k-{at}") }));
        let claims = event_claims(json!({ "sub": "alice", "events": { LOGOUT: {} } }));
        Push::logout(&TRUSTED.sign(&header, &claims))
    };
    let (client, url) = (client(), scene.edge.edge("/events"));
    let commands = scene.commands();
    let begun = Instant::now();
    let sent = std::sync::atomic::AtomicUsize::new(0);
    let flood = futures_util::stream::iter(0..10_000_usize).for_each_concurrent(24, |at| {
        let (client, url, table, sent) = (&client, &url, &table, &sent);
        async move {
            let (status, body) = match at % 50 {
                0 => unknown_key(at).send(client, url).await,
                _ => table[at % table.len()].1.send(client, url).await,
            };
            assert!(matches!(status, 200..=413 | 503), "{status} {body}");
            sent.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    });
    let genuine = async {
        while sent.load(std::sync::atomic::Ordering::Relaxed) < 3000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let before = Instant::now();
        assert_eq!(scene.push(&Push::logout(&logout(json!({ "sub": "bob" })))).await.0, 200);
        let answered = before.elapsed();
        assert_eq!(scene.api(&bob).await, 401);
        let during = sent.load(std::sync::atomic::Ordering::Relaxed);
        (answered, before.elapsed(), during)
    };
    let ((), (answered, refused, during)) = tokio::join!(flood, genuine);
    println!(
        "10,000 hostile events in {:?}; a genuine one in their midst was in the store after {answered:?}, \
         and the next request with its token refused after {refused:?}",
        begun.elapsed()
    );
    assert!(during < 10_000, "the flood was over");
    assert!(answered < Duration::from_secs(1), "{answered:?}");
    // The genuine event: two scripts, which each read and write once. Its token: one MGET.
    assert_eq!(scene.commands() - commands, 7, "the flood reached the store");
    assert!(scene.keys.take().len() <= 4, "the flood reached the issuer");
    assert_eq!(scene.api(&alice).await, 200);
    stop(scene.edge).await;
}

/// A marker as the script must keep it: its value, and the moment in ms at which it ends; `None`
/// for never.
type Marker = Option<(String, Option<u64>)>;

/// Returns whether tokens that a marker revokes are all revoked by another one.
fn covers(own: &str, other: &str) -> bool {
    portcullis_core::revoked_before(own) >= portcullis_core::revoked_before(other)
}

#[test]
fn revoke_script_only_adds_or_lengthens() {
    let redis = Redis::start(&[]);
    let mut connection = redis.connection();
    let script = redis::Script::new(REVOKE_SCRIPT);
    let read = |connection: &mut redis::Connection, key: &str| -> Marker {
        let value: Option<String> = connection.get(key).unwrap();
        let ends: i64 = redis::cmd("PEXPIRETIME").arg(key).query(connection).unwrap();
        value.map(|value| (value, u64::try_from(ends).ok()))
    };
    let mut chance = Chance::new(7);
    let values = [
        "0",
        "5",
        "05",
        "+7",
        "9",
        "1700000000",
        "1700000001",
        "99999999999999999999",
        "disabled",
        "",
        "-1",
        "1e3",
        "0x10",
        "nan",
        " 4",
        "3.5",
    ];
    let lives: [u64; 4] = [1000, 60_000, 900_000, 86_760_000];
    let (mut kept, mut written) = (0, 0);
    for round in 0..400 {
        let key = format!("pc:revoked:sub:{round}");
        if let Some(place) = chance.place(values.len() * 2).and_then(|at| values.get(at)) {
            let () = connection.set(&key, place).unwrap();
            if chance.below(3) > 0 {
                let life = i64::try_from(lives[chance.place(4).unwrap()]).unwrap();
                let () = connection.pexpire(&key, life).unwrap();
            }
        }
        for _ in 0..8 {
            let before = read(&mut connection, &key);
            let wins = if chance.below(4) == 0 { "first" } else { "last" };
            let value = values[chance.place(values.len()).unwrap()];
            let life = lives[chance.place(4).unwrap()];
            // Values other than numbers are what the holder of a stolen token might try.
            let answer: redis::RedisResult<String> =
                script.key(&key).arg(wins).arg(value).arg(life).invoke(&mut connection);
            let after = read(&mut connection, &key);
            let said = format!("{before:?}, {wins} {value:?} for {life}: {answer:?}, {after:?}");
            let Some((held, ends)) = &after else { panic!("{said}") };
            if let Ok(answer) = &answer {
                assert_eq!(answer, held, "{said}");
            }
            if let Some((old, old_ends)) = &before {
                assert!(covers(held, old), "weakened: {said}");
                assert!(
                    ends.is_none() || old_ends.is_some_and(|old| ends.unwrap() >= old),
                    "shortened: {said}"
                );
                if wins == "first" {
                    assert_eq!(before, after, "{said}");
                }
                kept += 1;
            }
            let is_time = value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty();
            if is_time && (wins == "last" || before.is_none()) {
                assert!(answer.is_ok() && covers(held, value), "not written: {said}");
                written += 1;
            }
        }
    }
    assert!(kept > 1000 && written > 500, "{kept} {written}");
    for life in ["0", "-5", "nan", "inf", "", "x", "1e300"] {
        let () = connection.set_ex("pc:revoked:sub:life", "9", 600).unwrap();
        let before = read(&mut connection, "pc:revoked:sub:life");
        let _: redis::RedisResult<String> = script
            .key("pc:revoked:sub:life")
            .arg("last")
            .arg("3")
            .arg(life)
            .invoke(&mut connection);
        let after = read(&mut connection, "pc:revoked:sub:life");
        let (Some((value, Some(ends))), Some((_, Some(old)))) = (&after, &before) else {
            panic!("{life}: {after:?}")
        };
        assert!(value == "9" && ends >= old, "{life}: {before:?} {after:?}");
    }

    // The order of events does not matter: the latest time and the longest life win.
    for seed in 0..20 {
        let key = format!("pc:revoked:sub:order-{seed}");
        let mut events: Vec<(u64, u64)> = (1..6).map(|at| (at * 10, at * 100_000)).collect();
        chance.shuffle(&mut events);
        for (time, life) in &events {
            let _: String =
                script.key(&key).arg("last").arg(time).arg(life).invoke(&mut connection).unwrap();
        }
        let left: i64 = connection.pttl(&key).unwrap();
        let value: String = connection.get(&key).unwrap();
        assert_eq!(value, "50");
        assert!((499_000..=500_000).contains(&left), "{left}");
    }
}

/// npm's oidc-provider, which sends logout tokens to its client.
struct OidcProvider {
    url: String,
    process: Process,
    _folder: Folder,
}

impl OidcProvider {
    fn start() -> Self {
        let [port] = free_ports();
        let (folder, root) = (Folder::new(), concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let mut node = Command::new(format!("{root}/node_modules/.bin/node"));
        node.arg(format!("{root}/tests/e2e/clients/provider.mjs")).arg(port.to_string());
        let process = Process::start(node.env("EDGE_SECRET", "secret"), folder.file("log"));
        wait_for_port(port, &process);
        Self { url: format!("http://127.0.0.1:{port}"), process, _folder: folder }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = client().get(format!("{}{path}", self.url)).send().await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{}", self.process.text()))
    }

    async fn sign_in(&self) -> String {
        let token_url = format!("{}/token", self.url);
        let path = format!("/test/sign-in?resource=https://api.example&token_url={token_url}");
        let tokens = self.get(&path).await;
        let token = tokens["access_token"].as_str();
        token.unwrap_or_else(|| panic!("{tokens}\n{}", self.process.text())).to_owned()
    }
}

#[tokio::test]
async fn logout_at_a_provider_ends_the_access_token() {
    let provider = OidcProvider::start();
    let issuer = json!({
        "issuer": provider.url, "audience": "https://api.example", "algorithms": ["ES256"],
        "metadata_url": format!("{}/.well-known/openid-configuration", provider.url),
        "events": { "accept": ["logout"], "audience": "spa" },
    });
    let scene = Scene::start(vec![issuer]).await;
    for session in ["yes", "no"] {
        let (token, url) = (provider.sign_in().await, scene.edge.edge("/api/x"));
        // The same user's session in another browser, which only a logout of the user ends.
        let other = token.clone();
        assert_eq!(scene.api(&other).await, 200);
        let ended = provider.sign_in().await;
        assert_eq!(scene.api(&ended).await, 200);
        let watch = {
            let (client, url, ended) = (client(), url.clone(), ended.clone());
            tokio::spawn(async move {
                let (begun, mut last_ms) = (Instant::now(), 0);
                loop {
                    let sent_ms = now_ms();
                    let answer = client.get(&url).bearer_auth(&ended).send().await.unwrap();
                    match answer.status().as_u16() {
                        200 => last_ms = sent_ms,
                        status => {
                            assert_eq!(status, 401);
                            return (last_ms, sent_ms);
                        }
                    }
                    assert!(begun.elapsed() < Duration::from_secs(10), "the token still works");
                }
            })
        };
        let path =
            format!("/test/sign-out?session={session}&events_url={}", scene.edge.edge("/events"));
        let outcome = provider.get(&path).await;
        assert_eq!(outcome["delivered"], true, "{outcome}\n{}", provider.process.text());
        let called_ms = outcome["called_at_ms"].as_i64().unwrap();
        let (last_ms, refused_ms) = watch.await.unwrap();
        let (last_ms, refused_ms) = (last_ms - called_ms, refused_ms - called_ms);
        println!(
            "session={session}: after the provider's call, the last accepted request was sent at \
             {last_ms} ms, and the first refused one at {refused_ms} ms"
        );
        assert!(last_ms < 1000, "{last_ms}");
        assert_eq!(scene.api(&ended).await, 401);
        assert_eq!(scene.api(&other).await, if session == "yes" { 200 } else { 401 });
        let line = scene.line(|line| line["event_type"] == "logout").await;
        assert_eq!(line["event_result"], "revoked");
    }
    stop((scene.edge, provider)).await;
}
