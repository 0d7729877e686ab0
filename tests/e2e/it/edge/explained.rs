//! Compares `explain` with the running edge, for random requests and random policies.

use crate::support::chance::Chance;
use crate::support::edge::start_edge;
use crate::support::environment::explained_policies;
use crate::support::http::{client, field};
use crate::support::issuer::{AUDIENCE, ISSUER, Issuer, TRUSTED, claims, header, now};
use crate::support::stack::{RECORD_ENCRYPTION_KEY, SHARED, Stack, stop};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::join_all;
use portcullis_core::{Seal, StoreKeys, TokenHash, TokenRecord};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const REQUESTS: u64 = 60;
/// The number of policies from which on each outcome and each assumption must occur this often.
const POLICIES_MANY: u64 = 50;
const OCCURS_MIN: u32 = 20;

/// The failure of a dependency of a policy's edge.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Trouble {
    None,
    /// The store does not respond.
    Store,
    /// The issuer's introspection does not respond.
    Introspection,
}

/// A random policy: sections that override those of the shipped policy.
struct Generated {
    sections: Value,
    trouble: Trouble,
}

fn pick<T: Copy>(chance: &mut Chance, list: &[T]) -> T {
    list[chance.place(list.len()).unwrap()]
}

fn route(chance: &mut Chance, number: u64, has_introspection: bool) -> Value {
    let path = pick(chance, &["/a", "/a/*", "/a/{id}", "/b/*", "/b/{id}/c", "/c/*", "/c", "/*"]);
    let access = pick(
        chance,
        &["protected", "protected", "protected", "optional", "public", "deny", "auth"],
    );
    let mut route = json!({ "name": format!("r{number}"), "path": path, "access": access });
    if chance.below(6) == 0 {
        route["methods"] = pick(chance, &[&["GET"][..], &["POST"], &["GET", "PUT"]]).into();
    }
    if path != "/*" {
        route["suffixes"] = "same".into();
    }
    if access == "deny" {
        return route;
    }
    // Each request has a bucket of its own.
    if chance.below(2) == 0 {
        route["limit"] = json!({ "quota": 1, "window_seconds": 3600, "by": "header:x-id",
            "on_store_outage": pick(chance, &["deny", "allow", "local"]) });
    }
    if access != "auth" && chance.below(8) == 0 {
        route["enforce"] = false.into();
    }
    if matches!(access, "protected" | "optional") {
        route["require"] = pick(chance, &["record", "record", "not_revoked"]).into();
        let outages = ["deny", "signature", "introspect"];
        let outages = if has_introspection { &outages[..] } else { &outages[..2] };
        route["on_store_outage"] = pick(chance, outages).into();
        match chance.below(8) {
            0 | 1 => route["scopes"] = json!(["admin"]),
            2 | 3 => route["claims"] = json!({ "tenant": ["acme", "other"] }),
            4 => route["forward_token"] = true.into(),
            5 => {
                route["acr_values"] = json!(["phr", "phrh"]);
                route["max_age_seconds"] = 100.into();
                route["scopes_any"] = json!(["admin", "api:read"]);
            }
            _ => {}
        }
    }
    route
}

/// Returns a policy that `check` accepts.
fn generate(chance: &mut Chance, number: u64, provider: &str) -> Generated {
    let trouble = match number % 5 {
        0 => Trouble::Store,
        1 => Trouble::Introspection,
        _ => Trouble::None,
    };
    let has_introspection = trouble == Trouble::Introspection || number.is_multiple_of(4);
    let mut issuer = json!({ "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"],
        "jwks": TRUSTED.jwks() });
    if has_introspection {
        let url = match trouble {
            Trouble::Introspection => "http://127.0.0.1:1/introspect".to_owned(),
            _ => provider.to_owned(),
        };
        issuer["introspection"] =
            json!({ "url": url, "client_id": "e", "client_secret_variable": "CLIENT_SECRET" });
    }
    let store = match trouble {
        Trouble::Store => "http://127.0.0.1:1",
        _ => SHARED.fact("store_url"),
    };
    loop {
        let count = 3 + chance.below(5);
        let mut routes: Vec<Value> =
            (0..count).map(|at| route(chance, at, has_introspection)).collect();
        // Many requests should reach a token's checks.
        if chance.below(3) > 0 {
            let mut last = json!({ "name": "last", "path": "/*", "access": "protected" });
            last["require"] = pick(chance, &["record", "not_revoked"]).into();
            last["scopes"] = pick(chance, &[&["admin"][..], &[]]).into();
            routes.push(last);
        }
        let sections = json!({
            "store": { "url": store, "timeout_ms": 3000 },
            "upstream": { "url": SHARED.fact("upstream_url") },
            "auth": { "url": SHARED.fact("upstream_url") },
            "introspection": { "per_second_max": 100_000, "timeout_ms": 3000 },
            "breaker": { "failures": 0 },
            "issuers": [issuer],
            "routes": routes,
        });
        let generated = Generated { sections, trouble };
        if generated.run("check", &[]).1 == 0 {
            return generated;
        }
    }
}

impl Generated {
    /// Runs the policy tools on the policy.
    fn run(&self, command: &str, arguments: &[&str]) -> (Value, u8) {
        let file = toml::to_string(&self.sections).unwrap();
        let read = |path: &str| match path {
            "portcullis.toml" => Ok(file.clone()),
            _ => Err("no such file".to_owned()),
        };
        let mut words = vec!["portcullis", "--json", command];
        words.extend(arguments);
        let words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        let outcome = portcullis_policy::run(&words, &read, &|_, _, _| Ok(None), now(), false);
        let json = serde_json::from_str(&outcome.text);
        (json.unwrap_or_else(|_| panic!("{}", outcome.text)), outcome.status)
    }
}

/// A random request, and the assumptions that `explain` needs for it.
struct Request {
    id: String,
    method: &'static str,
    path: &'static str,
    token: Option<String>,
    assumptions: Vec<String>,
    /// Whether the same request was sent before and used up all of its limits.
    is_second: bool,
}

impl Request {
    fn generate(chance: &mut Chance, id: String, generated: &Generated, redis: &mut Redis) -> Self {
        let paths =
            ["/a", "/a/x", "/b/x", "/b/x/c", "/c", "/c/x/y", "/c/x/y", "/d", "/A/x", "/b/x.json"];
        let path = pick(chance, &paths);
        let method = pick(chance, &["GET", "GET", "POST", "PUT", "DELETE"]);
        let mut assumptions = Vec::new();
        match generated.trouble {
            Trouble::None => {}
            Trouble::Store => assumptions.push("store-down".to_owned()),
            Trouble::Introspection => assumptions.push("auth-down".to_owned()),
        }
        let is_second = chance.below(4) == 0;
        if is_second {
            let names = generated.sections["routes"].as_array().unwrap().iter();
            let limited = names.filter(|route| route["limit"].is_object());
            assumptions
                .extend(limited.map(|route| format!("over:{}", route["name"].as_str().unwrap())));
        }
        let token = token(chance, &id, &mut assumptions, redis);
        Self { id, method, path, token, assumptions, is_second }
    }

    /// Returns the status, the body and the challenge of the response.
    async fn send(&self, edge: &Stack) -> (u16, Value, String) {
        let request = client().request(self.method.parse().unwrap(), edge.edge(self.path));
        let mut request = request.header("x-id", &self.id);
        request = request.header("cf-connecting-ip", "203.0.113.1");
        request = request.header("portcullis-subject", "mallory");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let challenge = field(&response, "www-authenticate");
        (status, response.json().await.unwrap_or_default(), challenge)
    }

    fn explain(&self, generated: &Generated) -> Value {
        let id = format!("x-id: {}", self.id);
        let mut arguments = vec![self.method, self.path, "--header", &id];
        arguments.extend(["--header", "portcullis-subject: mallory"]);
        if let Some(token) = &self.token {
            arguments.extend(["--token", token]);
        }
        for assumption in &self.assumptions {
            arguments.extend(["--assume", assumption]);
        }
        generated.run("explain", &arguments).0
    }
}

/// Starts an issuer's introspection, and returns its URL. Every token is active, with the subject
/// that the token itself names.
fn introspection() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/introspect", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    let answer = async |body: String| {
        let token = body.split('&').find_map(|pair| pair.strip_prefix("token=")).unwrap();
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&payload).unwrap();
        axum::Json(json!({ "active": true, "sub": claims["sub"], "exp": claims["exp"] }))
    };
    let router = axum::Router::new().fallback(answer);
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// The store of the tests, and the responses about its tokens.
struct Redis {
    connection: redis::Connection,
    keys: StoreKeys,
    seal: Seal,
}

impl Redis {
    fn new() -> Self {
        let client = redis::Client::open(SHARED.fact("redis_url")).unwrap();
        let seal = Seal::new(RECORD_ENCRYPTION_KEY, None).unwrap();
        Self { connection: client.get_connection().unwrap(), keys: StoreKeys::new("pc"), seal }
    }

    fn set(&mut self, key: &str, value: &str) {
        redis::cmd("SET")
            .arg(key)
            .arg(value)
            .arg("EX")
            .arg(600)
            .exec(&mut self.connection)
            .unwrap();
    }
}

/// Returns a random token, and sets the state of the store for it.
fn token(
    chance: &mut Chance,
    id: &str,
    assumptions: &mut Vec<String>,
    redis: &mut Redis,
) -> Option<String> {
    let scope = pick(chance, &["api:read", "api:read admin"]);
    let mut own = json!({ "sub": id, "jti": id, "sid": id, "scope": scope });
    if chance.below(2) == 0 {
        own["tenant"] = "acme".into();
    }
    if chance.below(3) > 0 {
        own["acr"] = pick(chance, &["phr", "phr", "pwd"]).into();
        own["auth_time"] = (now() - pick(chance, &[10, 10, 1000])).into();
    }
    let mut head = json!({});
    let (mut has_record, mut is_revoked, mut is_damaged) = (true, false, false);
    match chance.below(14) {
        0 => return None,
        1 => return Some("a.b.c".to_owned()),
        2 => own["exp"] = (now() - 100).into(),
        3 => own["aud"] = "https://other.example".into(),
        4 => is_damaged = true,
        5 => is_revoked = true,
        6..=9 => has_record = false,
        10 => head["typ"] = "JWT".into(),
        _ => {}
    }
    let claims = claims(own);
    let signer = if is_damaged { &Issuer::new() } else { &*TRUSTED };
    let token = signer.sign(&header(head), &claims);
    if is_damaged {
        assumptions.push("bad-signature".to_owned());
    }
    if is_revoked {
        assumptions.push("revoked".to_owned());
        let key = redis.keys.revoked_jti(ISSUER, id);
        redis.set(&key, "1");
    }
    if has_record {
        let record = TokenRecord {
            sub: id.to_owned(),
            sid: Some(id.to_owned()),
            aud: Some(AUDIENCE.to_owned()),
            ..TokenRecord::default()
        };
        let key = redis.keys.token(&TokenHash::of(&token));
        let text = record.encode(&key, Some(&redis.seal), [7; 12]);
        redis.set(&key, &text);
    } else {
        assumptions.push("no-record".to_owned());
    }
    Some(token)
}

/// Compares the edge's response with the output of `explain`. Returns the outcome.
fn compare(
    request: &Request,
    (status, body, challenge): &(u16, Value, String),
    explained: &Value,
) -> String {
    let context = || format!("{} {}: {explained:#}\n{status} {body}", request.method, request.path);
    let outcome = &explained["outcome"];
    if outcome["verdict"] == "refused" {
        assert_eq!(outcome["status"], *status, "{}", context());
        assert_eq!(outcome["code"], body["code"], "{}", context());
        let fields = outcome["headers"].as_array().unwrap();
        let explained = fields.iter().find(|field| field[0] == "www-authenticate");
        let explained = explained.and_then(|field| field[1].as_str()).unwrap_or_default();
        assert_eq!(explained, challenge, "{}", context());
        return outcome["code"].as_str().unwrap().to_owned();
    }
    assert_eq!(outcome["verdict"], "forwarded", "{}", context());
    assert_eq!(*status, 200, "{}", context());
    let reached = &body["headers"];
    let set = |name: &str| {
        let set = outcome["set"].as_array().unwrap();
        set.iter().find(|pair| pair[0] == name).map(|pair| pair[1].clone()).unwrap_or_default()
    };
    for name in
        ["portcullis-subject", "portcullis-scope", "portcullis-session", "portcullis-client"]
    {
        assert_eq!(reached[name], set(name), "{name}: {}", context());
    }
    assert_eq!(reached["x-forwarded-for"], set("x-forwarded-for"), "{}", context());
    let is_removed =
        outcome["remove"].as_array().unwrap().iter().any(|name| name == "authorization");
    let had_one = request.token.is_some();
    assert_eq!(reached["authorization"].is_string(), had_one && !is_removed, "{}", context());
    "forwarded".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn explain_agrees_with_the_edge() {
    let mut chance = Chance::new(17);
    let provider = introspection();
    let mut redis = Redis::new();
    let mut occurred: BTreeMap<String, u32> = BTreeMap::new();
    let policies = explained_policies();
    for number in 0..policies {
        let generated = generate(&mut chance, number, &provider);
        let mut vars = generated.sections.clone();
        vars["CLIENT_SECRET"] = "secret".into();
        // These sections replace those that the tests' edges have otherwise.
        for section in ["store", "upstream", "auth"] {
            vars[format!("{section}.url")] = vars[section]["url"].clone();
        }
        let edge = start_edge(vars).await;
        let requests = (0..REQUESTS).map(|at| {
            let id = format!("p{number}-{at}");
            Request::generate(&mut chance, id, &generated, &mut redis)
        });
        let requests: Vec<Request> = requests.collect();
        let answers = requests.iter().map(async |request| {
            let first = request.send(&edge).await;
            if request.is_second { request.send(&edge).await } else { first }
        });
        let answers = join_all(answers).await;
        for (request, answer) in requests.iter().zip(&answers) {
            let outcome = compare(request, answer, &request.explain(&generated));
            *occurred.entry(outcome).or_default() += 1;
            for assumption in &request.assumptions {
                let kind = assumption.split(':').next().unwrap();
                *occurred.entry(format!("--assume {kind}")).or_default() += 1;
            }
        }
        stop(edge).await;
    }
    println!("{occurred:#?}");
    if policies < POLICIES_MANY {
        return;
    }
    for needed in [
        "forwarded",
        "route_not_found",
        "method_not_allowed",
        "route_denied",
        "token_missing",
        "token_malformed",
        "token_expired",
        "token_revoked",
        "token_not_registered",
        "token_type_refused",
        "audience_mismatch",
        "signature_invalid",
        "scope_insufficient",
        "claim_insufficient",
        "insufficient_user_authentication",
        "rate_limited",
        "path_ambiguous",
        "store_unreachable",
        "introspection_unreachable",
        "--assume revoked",
        "--assume no-record",
        "--assume bad-signature",
        "--assume over",
        "--assume store-down",
        "--assume auth-down",
    ] {
        let count = occurred.get(needed).copied().unwrap_or_default();
        assert!(count >= OCCURS_MIN, "{needed} occurred {count} times");
    }
}
