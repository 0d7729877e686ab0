//! What operators learn of an edge by the store: its state, its policy, and its refusals with their
//! steps. No token and no secret is among it.

use super::limits::scene::{store, token, unique};
use crate::support::edge::start_edge;
use crate::support::environment::on_memcached;
use crate::support::gateway::{Gateway, TOKEN};
use crate::support::http::{assert_refused, client, field, get, get_with};
use crate::support::issuer::{AUDIENCE, ISSUER, Issuer, TRUSTED, claims, header, now};
use crate::support::process::Folder;
use crate::support::redis_server::Redis;
use crate::support::stack::{EDGE_AUTH_KEY, RECORD_ENCRYPTION_KEY, Stack, stop};
use portcullis_core::{Policy, StoreKeys, TokenHash, read_totals};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const EDGE: &str = "edge-edge-edge-edge-edge-edge-edge";
const METRICS_TOKEN: &str = "metrics-metrics-metrics";
const PROVIDER_SECRET: &str = "provider-provider-provider";

/// Starts a Redis, and a redis gateway with the documented tokens without the rules that contain
/// one of these texts.
async fn documented_store(without: &'static [&'static str]) -> (Redis, Gateway) {
    let start = move || {
        let redis = Redis::start(&[]);
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis-gateway-tokens.toml");
        let documented = std::fs::read_to_string(file).unwrap();
        let is_kept = |line: &&str| !without.iter().any(|text| line.contains(text));
        let kept: Vec<&str> = documented.lines().filter(is_kept).collect();
        let tokens = kept
            .join("\n")
            .replace("EDGE_TOKEN", EDGE)
            .replace("AUTH_TOKEN", "a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a");
        let folder = Folder::new();
        let file = folder.write("tokens.toml", &tokens);
        let file = file.to_str().unwrap().to_owned();
        let gateway = Gateway::start_in(folder, &redis.url(), &[("GATEWAY_TOKENS_FILE", &file)]);
        (redis, gateway)
    };
    let (redis, gateway) = tokio::task::spawn_blocking(start).await.unwrap();
    gateway.ready().await;
    (redis, gateway)
}

/// Starts an edge that writes once a second.
async fn start(gateway: &Gateway, more: Value) -> Stack {
    let mut vars = json!({
        "store.url": gateway.url, "STORE_TOKEN": EDGE, "revocation.delay_seconds_max": 60,
        "metrics.interval_seconds": 1, "metrics.path": "/metrics", "METRICS_TOKEN": METRICS_TOKEN,
        "PROVIDER_SECRET": PROVIDER_SECRET,
        "issuers": [{
            "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks(),
            "introspection": { "url": "http://127.0.0.1:1/introspect?key=query-secret",
                "client_id": "edge", "client_secret_variable": "PROVIDER_SECRET" },
        }],
        "limits": [{ "name": "few", "quota": 2, "window_seconds": 60, "by": "subject" }],
        "routes": [
            { "name": "few", "path": "/api/few", "access": "protected", "require": "not_revoked",
              "limits": ["few"], "suffixes": "same" },
            { "name": "shadow", "path": "/api/shadow", "access": "protected", "enforce": false,
              "require": "not_revoked", "suffixes": "same" },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
            { "name": "open", "path": "/open", "access": "public" },
        ],
    });
    vars.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    start_edge(vars).await
}

/// Sends a request, which is not refused, once in a while until `done` returns something.
async fn until<T>(stack: &Stack, what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        get(&stack.edge("/open")).send().await.unwrap();
        if let Some(found) = done().await {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}:\n{}", stack.log("edge"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn hash(gateway: &Gateway, key: &str) -> BTreeMap<String, String> {
    let words: Vec<String> =
        serde_json::from_value(gateway.run(json!(["HGETALL", key])).await).unwrap();
    words.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// Returns the counters of all edges, as the store has them.
async fn totals(gateway: &Gateway) -> BTreeMap<String, u64> {
    let command = read_totals(&StoreKeys::new("pc"));
    let words = command.words().iter().map(|word| str::from_utf8(word).unwrap());
    let text = gateway.run(words.collect()).await;
    let pair = |line: &str| {
        let (name, count) = line.rsplit_once(' ').unwrap();
        (name.to_owned(), count.parse().unwrap())
    };
    text.as_str().unwrap().lines().map(pair).collect()
}

async fn refusals(gateway: &Gateway) -> Vec<Value> {
    let texts: Vec<String> =
        serde_json::from_value(gateway.run(json!(["LRANGE", "pc:refusals", 0, -1])).await).unwrap();
    assert!(texts.iter().all(|text| text.len() <= 2048), "{texts:?}");
    texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn keys(redis: &Redis) -> Vec<String> {
    redis::cmd("KEYS").arg("*").query(&mut redis.connection()).unwrap()
}

/// Returns all that the store has, one line for each key.
async fn everything(redis: &Redis, gateway: &Gateway) -> String {
    let mut all = String::new();
    for key in keys(redis) {
        let kind = gateway.run(json!(["TYPE", key])).await;
        let value = match kind.as_str().unwrap() {
            "string" => gateway.run(json!(["GET", key])).await,
            "hash" => gateway.run(json!(["HGETALL", key])).await,
            "list" => gateway.run(json!(["LRANGE", key, 0, -1])).await,
            "zset" => gateway.run(json!(["ZRANGE", key, 0, -1])).await,
            kind => panic!("{key} is a {kind}"),
        };
        all.push_str(&format!("{key} {value}\n"));
    }
    all
}

fn number(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_else(|| panic!("{name} of {value}"))
}

#[tokio::test]
async fn store_has_what_operators_see_and_no_secret() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = documented_store(&[]).await;
    let stack = start(&gateway, json!({})).await;
    let (subject, sid) = (unique("subject"), unique("sid"));
    let good = token(json!({ "sub": subject, "client_id": "app" }));
    let revoked = token(json!({ "sub": subject, "sid": sid, "client_id": "app" }));
    let forged = Issuer::new().sign(&header(json!({})), &claims(json!({ "sub": subject })));
    let opaque = "opaque-opaque-opaque-opaque-opaque";
    let marker = StoreKeys::new("pc").revoked_sid(ISSUER, &sid);
    gateway.run(json!(["SET", marker, now() + 1, "EX", 600])).await;

    for _ in 0..4 {
        assert_eq!(get_with(&stack.edge("/api/x?a=query-secret"), &good).await.status(), 200);
    }
    let path = stack.edge("/api/x?token=query-secret");
    assert_refused(get(&path).send().await.unwrap(), 401, "token_missing").await;
    assert_refused(get_with(&path, &forged).await, 401, "signature_invalid").await;
    assert_refused(get_with(&path, opaque).await, 401, "token_malformed").await;
    let request = client().get(&path).bearer_auth(&revoked);
    let request = request.header("cf-connecting-ip", "2001:db8:1:2:3:4:5:6");
    let response = request.send().await.unwrap();
    let id = field(&response, "x-request-id");
    assert_refused(response, 401, "token_revoked").await;
    let few = stack.edge("/api/few");
    for status in [200, 200, 429, 429] {
        assert_eq!(get_with(&few, &good).await.status(), status);
    }
    assert_eq!(get(&stack.edge("/api/shadow")).send().await.unwrap().status(), 200);

    // The first batch finds that the policy is missing, and the second one has it.
    let policy = until(&stack, "no policy is written", async || {
        let keys = keys(&redis).into_iter();
        keys.into_iter().find(|key| key.starts_with("pc:policy:"))
    })
    .await;
    let edges = hash(&gateway, "pc:edges").await;
    assert_eq!(edges.len(), 1, "{edges:?}");
    let (name, state) = edges.first_key_value().unwrap();
    let (colo, own) = name.split_once('/').unwrap();
    assert_eq!(own.len(), 8, "{name}");
    let state: Value = serde_json::from_str(state).unwrap();
    assert_eq!(state["colo"], colo, "{state}");
    assert_eq!(format!("pc:policy:{}", state["policy"].as_str().unwrap()), policy);
    assert_eq!((&state["breakers"], &state["degraded"]), (&json!({}), &json!([])), "{state}");
    assert_eq!(number(&state, "delay_ms_max"), 60_000, "{state}");
    assert!(number(&state, "at").abs_diff(now() * 1000) < 20_000, "{state}");
    assert!(state["version"].is_string() && state["requests"].is_u64(), "{state}");

    let text = gateway.run(json!(["GET", policy])).await;
    let text = text.as_str().unwrap();
    let digest = TokenHash::of(text).to_string();
    assert_eq!(policy, format!("pc:policy:{}", &digest[..16]));
    let document: Value = serde_json::from_str(text).unwrap();
    assert_eq!(document["store"]["url"], gateway.url.as_str());
    assert_eq!(document["routes"].as_array().unwrap().len(), 4, "{document}");
    let variable = |name: &str| {
        ["STORE_TOKEN", "METRICS_TOKEN", "PROVIDER_SECRET"].contains(&name).then(|| "x".repeat(16))
    };
    assert!(Policy::parse(text, variable).is_ok(), "it can't be read again: {text}");

    let entries = refusals(&gateway).await;
    assert!(entries.is_sorted_by(|one, next| number(one, "at") >= number(next, "at")));
    let of = |code: &str| {
        entries
            .iter()
            .find(|own| own["code"] == code)
            .unwrap_or_else(|| panic!("{code}: {entries:?}"))
    };
    let entry = of("token_revoked");
    assert_eq!(entry["id"], id.as_str(), "{entry}");
    assert_eq!((&entry["route"], &entry["status"]), (&json!("api"), &json!(401)), "{entry}");
    assert_eq!((&entry["method"], &entry["path"]), (&json!("GET"), &json!("/api/x")), "{entry}");
    assert_eq!(entry["address"], "2001:db8:1:2::/64", "{entry}");
    assert_eq!((&entry["client"], &entry["iss"]), (&json!("app"), &json!(ISSUER)), "{entry}");
    assert_eq!((&entry["weight"], &entry["shadow"]), (&json!(1), &json!(false)), "{entry}");
    let steps = |entry: &Value| -> Vec<(String, String)> {
        let steps = entry["steps"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        assert!(steps.iter().all(|step| step[1].is_u64()), "{entry}");
        steps.iter().map(|step| (text(&step[0]), text(&step[2]))).collect()
    };
    let step = |name: &str, note: &str| (name.to_owned(), note.to_owned());
    assert_eq!(
        steps(entry),
        [
            step("route", "api"),
            step("token", "JWT, kid k1, store"),
            step("store", "revoked: sid marker"),
            step("decide", "token_revoked"),
        ]
    );
    let limited: Vec<&Value> = entries.iter().filter(|own| own["code"] == "rate_limited").collect();
    assert_eq!(limited.len(), 2, "{entries:?}");
    assert!(
        steps(limited[0]).contains(&step("limit", "few: refused"))
            || steps(limited[0]).contains(&step("limit", "few: refused, 0 left")),
        "{limited:?}"
    );
    let missing: Vec<&Value> =
        entries.iter().filter(|own| own["code"] == "token_missing").collect();
    assert!(
        missing
            .iter()
            .any(|own| own["shadow"] == true && own["route"] == "shadow" && own["status"] == 200),
        "{missing:?}"
    );
    assert_eq!(of("signature_invalid")["client"], Value::Null);
    assert!(steps(of("token_malformed")).iter().any(|(name, _)| name == "decide"));
    assert!(entries.iter().all(|own| own.get("subject").is_none()), "{entries:?}");

    let counters = totals(&gateway).await;
    let count = |name: &str| counters.get(name).copied().unwrap_or_default();
    assert_eq!(count("limit_checks_total{limit=\"few\",result=\"passed\"}"), 2, "{counters:?}");
    assert_eq!(count("limit_checks_total{limit=\"few\",result=\"refused\"}"), 2, "{counters:?}");
    // An observation moves one counter and the sum, because the store bills each.
    let observed = |name: &str| {
        let name = format!("{name}_milliseconds_observations{{");
        let of_name = counters.iter().filter(|(field, _)| field.starts_with(&name));
        of_name.map(|(_, count)| *count).sum::<u64>()
    };
    assert_eq!(observed("clearance_age"), 3, "{counters:?}");
    assert_eq!(count("clearance_age_milliseconds_observations{le=\"300000\"}"), 0);
    assert!(counters.keys().all(|field| !field.contains("_bucket{")), "{counters:?}");

    for (key, most) in [("pc:edges", 3600), ("pc:refusals", 3600), (policy.as_str(), 604_800)] {
        let seconds = gateway.run(json!(["TTL", key])).await.as_i64().unwrap();
        assert!((most - 60..=most).contains(&seconds), "{key} ends after {seconds} s");
    }
    let all = everything(&redis, &gateway).await + &stack.log("edge");
    for secret in [
        EDGE,
        METRICS_TOKEN,
        PROVIDER_SECRET,
        RECORD_ENCRYPTION_KEY,
        EDGE_AUTH_KEY,
        "query-secret",
        opaque,
        subject.as_str(),
    ] {
        assert!(!all.contains(secret), "{secret} is in {all}");
    }
    for token in [&good, &revoked, &forged] {
        for part in token.split('.') {
            assert!(
                !all.contains(&part[part.len().saturating_sub(24)..]),
                "a part of a token is in {all}"
            );
        }
    }
    stop((stack, gateway, redis)).await;
}

/// A flood of refusals must not fill the store.
#[tokio::test]
async fn sample_of_refusals_is_bounded_and_weighs_them_all() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = documented_store(&[]).await;
    let stack = start(&gateway, json!({ "metrics.interval_seconds": 3 })).await;
    let begun = Instant::now();
    get(&stack.edge("/first")).send().await.unwrap();
    for _ in 0..10 {
        let requests = (0..50).map(|_| get(&stack.edge("/api/x")).send());
        futures_util::future::join_all(requests).await;
    }
    let sum = |entries: &[Value]| -> u64 {
        // After a while, the limit of invalid tokens refuses them.
        let own = entries.iter().filter(|own| own["path"] == "/api/x");
        own.map(|own| number(own, "weight")).sum()
    };
    // A sample may have the other refusal in it, or not, and both share the weights.
    let others = 1;
    let all = |entries: &[Value]| entries.iter().map(|own| number(own, "weight")).sum::<u64>();
    let entries = until(&stack, "no refusals are written", async || {
        let entries = refusals(&gateway).await;
        (all(&entries) >= 501).then_some(entries)
    })
    .await;
    // Each batch has 20 at most, and there is one in 3 s.
    let batches = usize::try_from(begun.elapsed().as_secs() / 3).unwrap() + 1;
    assert!(entries.len() <= 20 * batches, "{} in {batches} batches", entries.len());
    // Each batch rounds its weights.
    let most = 500 + others + 10 * batches as u64;
    assert!((450..=most).contains(&sum(&entries)), "{} of {most}: {entries:?}", sum(&entries));
    assert!(all(&entries) <= most, "{} of {most}: {entries:?}", all(&entries));
    // The list itself is bounded, too.
    for _ in 0..11 {
        let push = ["LPUSH", "pc:refusals"].map(Value::from).into_iter();
        let push: Vec<Value> =
            push.chain((0..100).map(|_| json!("{\"at\":1,\"weight\":1}"))).collect();
        gateway.run(push.into()).await;
    }
    until(&stack, "the list is too long", async || {
        // A batch with a refusal shortens it.
        get(&stack.edge("/nowhere")).send().await.unwrap();
        let length = gateway.run(json!(["LLEN", "pc:refusals"])).await;
        length.as_u64().is_some_and(|length| (1..=1000).contains(&length)).then_some(())
    })
    .await;
    stop((stack, gateway, redis)).await;
}

#[tokio::test]
async fn refusals_are_not_written_if_the_policy_says_so() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = store().await;
    let vars = json!({ "metrics.refusals": false, "STORE_TOKEN": TOKEN });
    let stack = start(&gateway, vars).await;
    until(&stack, "no state is written", async || {
        (!hash(&gateway, "pc:edges").await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(gateway.run(json!(["EXISTS", "pc:refusals"])).await, 0);
    stop((stack, gateway, redis)).await;
}

/// An edge that is updated before the tokens of the redis gateway.
#[tokio::test]
async fn token_without_the_permissions_loses_and_repeats_no_count() {
    if on_memcached() {
        return;
    }
    let (redis, gateway) = documented_store(&["pc:edges", "pc:policy:", "pc:refusals"]).await;
    let stack = start(&gateway, json!({})).await;
    for _ in 0..3 {
        for _ in 0..5 {
            assert_refused(get(&stack.edge("/api/x")).send().await.unwrap(), 401, "token_missing")
                .await;
        }
        tokio::time::sleep(Duration::from_millis(1100)).await;
    }
    let field = "requests_total{route=\"api\",outcome=\"refused\",code=\"token_missing\"}";
    let count = async || totals(&gateway).await.get(field).copied();
    until(&stack, "the counts are not written", async || (count().await == Some(15)).then_some(()))
        .await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    until(&stack, "the counts change", async || Some(())).await;
    assert_eq!(count().await, Some(15));
    let log = stack.log("edge");
    assert_eq!(log.matches("observations_refused").count(), 1, "{log}");
    assert!(log.contains("NOPERM"), "{log}");
    stop((stack, gateway, redis)).await;
}
