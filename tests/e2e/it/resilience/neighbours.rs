//! Programs of neighbouring versions. The golden sets stand in for the other version: they have the
//! requests, answers, records and commands that it sends. `UPDATE_GOLDEN=1` writes the newest set.

use crate::support::auth_service::AuthService;
use crate::support::edge::start_edge;
use crate::support::gateway::{Gateway, read_reply};
use crate::support::http::{assert_refused, client, get_with, post, raw_at};
use crate::support::issuer::now;
use crate::support::process::Folder;
use crate::support::provider::{Behaviour, Provider, answer};
use crate::support::redis_server::Redis;
use crate::support::stack::{RECORD_ENCRYPTION_KEY, SHARED, Stack, Tokens, stop};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_core::{KEY_LOCKING, LIMIT_SCRIPT, Seal};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

#[cfg(test)]
#[path = "../../../golden/sets.rs"]
mod sets;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://api.example";
const PAGE: &str = "https://app.example";
const ENCRYPTION_KEY: &str = "golden:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const EDGE_AUTH_KEY: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
const SECRET: &str = "a-secret-of-at-least-32-characters";
const COOKIE: &str = "__Host-portcullis-refresh=";
const REQUESTS: &str = "edge-to-auth.json";
const ANSWERS: &str = "auth-to-edge.json";

/// Texts of messages by their names: one line each of the head, an empty line and the body.
type Messages = BTreeMap<String, Vec<String>>;

fn messages(set: &Path, name: &str) -> Messages {
    sets::read(set, name).map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default()
}

fn compare(name: &str, messages: &Messages) {
    sets::compare(name, &(serde_json::to_string_pretty(messages).unwrap() + "\n"));
}

fn newest() -> std::path::PathBuf {
    sets::all().pop().unwrap()
}

fn golden(set: &Path, name: &str) -> Value {
    serde_json::from_str(&sets::read(set, name).unwrap()).unwrap()
}

/// Returns the edge's proof of version 1, made without the code under test.
fn proof(method: &str, target: &str, field: impl Fn(&str) -> String, seconds: u64) -> String {
    let (address, country) = (field("portcullis-address"), field("cf-ipcountry"));
    let (device, id) = (field("user-agent"), field("x-request-id"));
    let message =
        format!("v1\n{method}\n{target}\n{address}\n{country}\n{device}\n{id}\n{seconds}");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(EDGE_AUTH_KEY).unwrap());
    let mac = hmac::sign(&key, message.as_bytes());
    format!("v1;t={seconds};mac={}", URL_SAFE_NO_PAD.encode(mac.as_ref()))
}

/// Puts names in place of everything in a raw request that differs from run to run.
fn normalized_request(raw: &str, known: &[(&str, &str)]) -> Vec<String> {
    let (head, body) = raw.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let first = lines.next().unwrap().to_owned();
    let mut fields: BTreeMap<String, String> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    if let Some(sent) = fields.get("portcullis-edge-auth") {
        let seconds = sent.split(['=', ';']).nth(2).unwrap().parse().unwrap();
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(*sent, proof(method, target, field, seconds), "{raw}");
    }
    for (name, placeholder) in [
        ("host", "{host}"),
        ("portcullis-edge-auth", "{edge_auth}"),
        ("portcullis-address", "{address}"),
        ("cf-connecting-ip", "{address}"),
        ("x-forwarded-for", "{address}"),
        ("x-forwarded-host", "{host}"),
        ("x-request-id", "{request_id}"),
        ("traceparent", "{traceparent}"),
    ] {
        fields.entry(name.to_owned()).and_modify(|value| *value = placeholder.to_owned());
    }
    for name in ["content-length", "connection"] {
        fields.remove(name);
    }
    let mut lines = vec![first];
    lines.extend(fields.into_iter().map(|(name, value)| format!("{name}: {value}")));
    lines.extend([String::new(), body.to_owned()]);
    let replace = |line: String| {
        known.iter().fold(line, |line, (value, name)| line.replace(value, &format!("{{{name}}}")))
    };
    lines.into_iter().map(replace).collect()
}

/// Puts names in place of everything in an answer's JSON that differs from run to run.
fn normalized_json(value: Value) -> Value {
    const VARIABLE: [&str; 12] = [
        "access_token",
        "refresh_token",
        "jti",
        "sub",
        "sid",
        "id",
        "request_id",
        "exp",
        "iat",
        "created_at",
        "last_seen_at",
        "expires_at",
    ];
    match value {
        Value::Object(members) => {
            let member = |(name, value): (String, Value)| match VARIABLE.contains(&name.as_str()) {
                true => (name.clone(), json!(format!("{{{name}}}"))),
                false => (name, normalized_json(value)),
            };
            Value::Object(members.into_iter().map(member).collect::<Map<_, _>>())
        }
        Value::Array(entries) => Value::Array(entries.into_iter().map(normalized_json).collect()),
        other => other,
    }
}

/// The golden answer as bytes, with the values of one session.
fn golden_answer(lines: &[String], token: &str) -> Behaviour {
    let Some((body, head)) = lines.split_last() else { return answer(200, "{}") };
    let values = [
        ("\"{exp}\"", "4102444800"),
        ("\"{iat}\"", "1750000000"),
        ("\"{created_at}\"", "1750000000"),
        ("\"{last_seen_at}\"", "1750000000"),
        ("\"{expires_at}\"", "4102444800"),
        ("{access_token}", token),
        ("{refresh_token}", "pcr_next"),
        ("{cookie}", "pcr_next"),
        ("{seconds}", "100"),
        ("{sub}", "alice"),
        ("{sid}", "session"),
        ("{jti}", "token-id"),
    ];
    let fill = |text: &str| values.iter().fold(text.to_owned(), |it, (a, b)| it.replace(a, b));
    let (body, head) = (fill(body), fill(&head.join("\r\n")));
    let length = body.len();
    let text = format!(
        "{}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}",
        head.trim_end()
    );
    Behaviour::Raw(text.into_bytes())
}

/// An edge whose store and whose auth service are stubs.
struct Scene {
    edge: Stack,
    store: Provider,
    auth: Provider,
}

impl Scene {
    async fn start() -> Self {
        let (store, auth) = (Provider::serving("[]"), Provider::serving("{}"));
        let key = json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        });
        let edge = start_edge(json!({
            "issuers": [{
                "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"],
                "jwks": { "keys": [key] }, "sessions_in_store": true,
                "introspection": {
                    "url": auth.url("/oauth/introspect"), "client_id": "edge",
                    "client_secret_variable": "SECRET", "revocations_in_store": true,
                },
            }],
            "routes": [
                { "name": "refresh", "path": "/auth/refresh", "access": "auth", "endpoint": "token" },
                { "name": "token", "path": "/oauth/token", "access": "auth", "endpoint": "token" },
                { "name": "logout", "path": "/auth/logout", "access": "auth", "endpoint": "revocation" },
                { "name": "revoke", "path": "/oauth/revoke", "access": "auth", "endpoint": "revocation" },
                { "name": "auth", "path": "/auth/*", "access": "auth" },
                { "name": "api", "path": "/api/*", "access": "protected" },
            ],
            "SECRET": SECRET, "RECORD_ENCRYPTION_KEY": ENCRYPTION_KEY,
            "EDGE_AUTH_KEY": EDGE_AUTH_KEY, "STORE_TOKEN": "store-token",
            "store.url": store.url(""), "auth.url": auth.url(""), "revocation.delay_seconds_max": 0,
            "breaker.failures": 0,
        }))
        .await;
        Self { edge, store, auth }
    }

    /// Lets the store reply to a request's query of its markers and its record.
    fn hold(&self, mut markers: Value, record: Option<&str>) {
        markers.as_array_mut().unwrap().push(json!(record));
        self.store.behave(answer(200, &json!([{ "result": markers }]).to_string()));
    }
}

#[tokio::test]
async fn current_edge_works_with_an_earlier_auth_service() {
    let mut sent = Messages::new();
    for set in sets::all() {
        let scene = Scene::start().await;
        let (auth, answers) = (golden(&set, "auth.json"), messages(&set, ANSWERS));
        let token = auth["access token"].as_str().unwrap();
        let answer_to =
            |name: &str| golden_answer(answers.get(name).map_or(&[], Vec::as_slice), token);
        let known =
            [(token, "access_token"), ("pcr_known", "refresh_token"), ("pcr_cookie", "cookie")];
        let one = |requests: Vec<String>| match requests.as_slice() {
            [raw] => normalized_request(raw, &known),
            _ => panic!("{requests:?}"),
        };

        // The record of an earlier version counts. One of a newer version counts as missing.
        let markers = json!([null, null, null, null, null, null, null]);
        scene.hold(markers.clone(), auth["sealed record"].as_str());
        let url = scene.edge.edge("/api/x");
        let response = get_with(&url, token).await;
        assert_eq!(response.status(), 200);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["headers"]["portcullis-subject"], "alice");
        assert!(scene.auth.take().is_empty());
        // A second request, after the response, records that the session was seen.
        let asked = scene.store.take();
        sent.insert("validated request".into(), normalized_request(&asked[0], &known));

        let key = auth["outbox"]["access token issued"][0][1].as_str().unwrap();
        let seal = Seal::new(ENCRYPTION_KEY, None).unwrap();
        let newer = r#"{"v":2,"sub":"alice","sid":"session","aud":"https://api.example"}"#;
        let newer = seal.seal(newer, key, [9; 12]).unwrap();
        for record in [&newer, &newer.replacen("v1.", "v2.", 1)] {
            scene.hold(markers.clone(), Some(record));
            scene.auth.behave(answer_to("introspect"));
            assert_eq!(get_with(&url, token).await.status(), 200, "{record}");
            sent.insert("introspect".into(), one(scene.auth.take()));
        }
        scene.auth.behave(answer(200, r#"{"active":false}"#));
        assert_refused(get_with(&url, token).await, 401, "token_inactive").await;
        scene.auth.take();

        // What a client gets is the earlier answer, unchanged.
        scene.store.behave(answer(200, r#"[{"error":"ERR"},{"error":"ERR"},{"error":"ERR"}]"#));
        for (name, request) in client_requests(&scene.edge.edge(""), token) {
            let expected = answer_to(name);
            scene.auth.behave(expected.clone());
            let response = request
                .header("user-agent", "golden")
                .header("cf-connecting-ip", "192.0.2.7")
                .send()
                .await
                .unwrap();
            let (status, text) = (response.status().as_u16(), response.text().await.unwrap());
            if let Behaviour::Raw(bytes) = expected {
                let raw = String::from_utf8(bytes).unwrap();
                let (head, body) = raw.split_once("\r\n\r\n").unwrap();
                assert_eq!(head.split(' ').nth(1).unwrap(), status.to_string(), "{name}");
                assert_eq!(text, body, "{name}");
            }
            sent.insert(name.into(), one(scene.auth.take()));
        }

        // The marker of an earlier version revokes.
        let marker = auth["outbox"]["session ended"][0][2].clone();
        scene.hold(
            json!([null, null, null, marker, null, null, null]),
            auth["sealed record"].as_str(),
        );
        assert_refused(get_with(&url, token).await, 401, "token_revoked").await;
        stop(scene.edge).await;
    }
    // An earlier auth service and an earlier gateway get the requests that they know.
    compare(REQUESTS, &sent);
}

/// The requests of a client to the auth service, in an order in which one session can send them.
fn client_requests(url: &str, access: &str) -> Vec<(&'static str, reqwest::RequestBuilder)> {
    let at = |path: &str| client().post(format!("{url}{path}"));
    let form = |path: &str, body: String| {
        at(path).header("content-type", "application/x-www-form-urlencoded").body(body)
    };
    let login = json!({ "username": AuthService::USERNAME, "password": "password" });
    let with_cookie =
        json!({ "username": AuthService::USERNAME, "password": "password", "cookie": true });
    let refresh = json!({ "refresh_token": "pcr_known" });
    vec![
        ("login", at("/auth/login").json(&login)),
        ("sessions", client().get(format!("{url}/auth/sessions")).bearer_auth(access)),
        ("refresh", at("/auth/refresh").json(&refresh)),
        ("token", form("/oauth/token", "grant_type=refresh_token&refresh_token=pcr_known".into())),
        ("revoke", form("/oauth/revoke", format!("token={access}"))),
        ("logout", at("/auth/logout").json(&refresh)),
        ("login with cookie", at("/auth/login").header("origin", PAGE).json(&with_cookie)),
        (
            "refresh by cookie",
            at("/auth/refresh")
                .header("origin", PAGE)
                .header("cookie", format!("{COOKIE}pcr_cookie")),
        ),
        ("unknown", at("/auth/refresh").json(&json!({ "refresh_token": "pcr_unknown" }))),
    ]
}

/// The order of requests to the auth service.
const FLOW: [&str; 10] = [
    "login",
    "sessions",
    "introspect",
    "refresh",
    "token",
    "revoke",
    "logout",
    "login with cookie",
    "refresh by cookie",
    "unknown",
];

#[tokio::test]
async fn earlier_edge_works_with_the_current_auth_service() {
    for set in sets::all() {
        let service = tokio::task::spawn_blocking(start_auth_service).await.unwrap();
        let (requests, expected) = (messages(&set, REQUESTS), messages(&set, ANSWERS));
        let mut values: BTreeMap<&str, String> = BTreeMap::from([
            ("host", service.address().to_owned()),
            ("address", "192.0.2.7".to_owned()),
            ("request_id", "0af76519-16cd-43dd-8448-eb211c80319c".to_owned()),
            ("traceparent", String::new()),
        ]);
        let mut answers = Messages::new();
        for name in FLOW {
            let Some(lines) = requests.get(name) else { panic!("{name} is not in {REQUESTS}") };
            let raw = filled_request(lines, &values);
            let address = service.address().to_owned();
            let answer = tokio::task::spawn_blocking(move || raw_at(&address, &raw, "\0"));
            let answer = normalized_answer(&answer.await.unwrap(), &mut values);
            answers.insert(name.to_owned(), answer);
        }
        if set == newest() {
            compare(ANSWERS, &answers);
        }
        // A later answer may have more members than an earlier edge and its clients know.
        for (name, earlier) in expected {
            let later = &answers[&name];
            assert_eq!(later.first(), earlier.first(), "{name}");
            let body = |lines: &[String]| serde_json::from_str(lines.last().unwrap()).ok();
            if let Some(Value::Object(earlier)) = body(&earlier) {
                let later: Value = body(later).unwrap();
                let missing =
                    |(member, value): &(&String, &Value)| later[member.as_str()] != **value;
                let missing: Vec<_> = earlier.iter().filter(missing).collect();
                assert!(missing.is_empty(), "{name}: {missing:?} in {later}");
            }
        }
        let log = service.process.text();
        assert!(!log.contains("edge_not_authenticated"), "{log}");
    }
}

fn start_auth_service() -> AuthService {
    AuthService::start(&[
        ("ISSUER", ISSUER),
        ("AUDIENCE", AUDIENCE),
        ("EDGE_AUTH_KEY", EDGE_AUTH_KEY),
        ("INTROSPECTION_CLIENTS", &format!("edge={SECRET}")),
        ("COOKIE_ORIGINS", PAGE),
        ("RECORD_ENCRYPTION_KEY", ENCRYPTION_KEY),
    ])
}

/// Returns the bytes of a golden request, with the values of this run.
fn filled_request(lines: &[String], values: &BTreeMap<&str, String>) -> String {
    let fill = |line: &String| {
        values
            .iter()
            .fold(line.clone(), |it, (name, value)| it.replace(&format!("{{{name}}}"), value))
    };
    let lines: Vec<String> = lines.iter().map(fill).collect();
    let (body, head) = lines.split_last().unwrap();
    let head: Vec<&str> = head.iter().map(String::as_str).filter(|line| !line.is_empty()).collect();
    let field = |name: &str| {
        let value = head.iter().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        value.unwrap_or_default().to_owned()
    };
    let mut words = head[0].split(' ');
    let proof = proof(words.next().unwrap(), words.next().unwrap(), field, now());
    let head = head.join("\r\n").replace("{edge_auth}", &proof);
    let length = body.len();
    format!("{head}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Keeps of an answer what edges and clients depend on, and takes the tokens for later requests.
fn normalized_answer(raw: &str, values: &mut BTreeMap<&str, String>) -> Vec<String> {
    let (head, body) = raw.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{raw}"));
    let mut lines: Vec<String> = head.lines().map(str::to_lowercase).collect();
    let kept = ["content-type:", "set-cookie:", "cache-control:", "www-authenticate:"];
    let first = head.lines().next().unwrap().to_owned();
    if let Some(line) = head.lines().find(|line| line.to_lowercase().starts_with("set-cookie:")) {
        let token = line.split([';', '=']).nth(1).unwrap().to_owned();
        lines.retain(|line| !line.starts_with("set-cookie:"));
        // The seconds that are left of the session are its last attribute.
        let (line, _) = line.rsplit_once('=').unwrap();
        lines.push(format!("{}={{seconds}}", line.replace(&token, "{cookie}")));
        values.insert("cookie", token);
    }
    let body = match serde_json::from_str::<Value>(body) {
        Ok(json) => {
            for name in ["access_token", "refresh_token"] {
                if let Some(token) = json[name].as_str() {
                    values.insert(name, token.to_owned());
                }
            }
            normalized_json(json).to_string()
        }
        Err(_) => body.to_owned(),
    };
    lines.retain(|line| kept.iter().any(|name| line.to_lowercase().starts_with(name)));
    lines.sort();
    [vec![first], lines, vec![String::new(), body]].concat()
}

const EDGE: &str = "edge-edge-edge-edge-edge-edge-edge";
const AUTH: &str = "auth-auth-auth-auth-auth-auth-auth";

#[tokio::test]
async fn earlier_edge_and_auth_service_work_with_the_current_gateway() {
    let redis = Redis::start(&[]);
    let folder = Folder::new();
    let tokens = include_str!("../../../../docs/redis-gateway-tokens.toml");
    let tokens = tokens.replace("EDGE_TOKEN", EDGE).replace("AUTH_TOKEN", AUTH);
    let file = folder.write("tokens.toml", &tokens).to_str().unwrap().to_owned();
    let gateway = Gateway::start_in(folder, &redis.url(), &[("GATEWAY_TOKENS_FILE", &file)]);
    let run = async |token: &str, commands: Value| {
        let request = client().post(format!("{}/pipeline", gateway.url)).bearer_auth(token);
        let (status, replies) = read_reply(request.json(&commands).send().await.unwrap()).await;
        assert_eq!(status, 200, "{replies}");
        replies
    };
    for set in sets::all() {
        let (edge, auth) = (golden(&set, "edge.json"), golden(&set, "auth.json"));
        for name in [
            "access token issued",
            "access token revoked",
            "user disabled",
            "user enabled",
            "session ended",
            "session expired",
        ] {
            let replies = run(AUTH, auth["outbox"][name].clone()).await;
            assert!(!replies.to_string().contains("\"error\""), "{name}: {replies}");
        }
        let script = sets::read(&set, "scripts/login-attempts").unwrap();
        let attempt = json!([["EVAL", script, "1", "pc:attempts:address:x", 5, 1000, 1000, 1]]);
        assert_eq!(run(AUTH, attempt).await, json!([{ "result": 0 }]));

        let by_hash = edge["request"][1].clone();
        let mut whole = by_hash.as_array().unwrap().clone();
        whole[0] = "EVAL".into();
        whole[1] = sets::read(&set, "scripts/limit").unwrap().into();
        // An edge first sends the hash alone, and then the script that the store does not know.
        let before = redis::cmd("SCRIPT")
            .arg("EXISTS")
            .arg(by_hash[1].as_str().unwrap())
            .query::<Vec<i64>>(&mut redis.connection());
        if before.unwrap() == [0] {
            let replies = run(EDGE, json!([by_hash])).await;
            assert!(replies[0]["error"].as_str().unwrap().starts_with("NOSCRIPT "), "{replies}");
        }
        let replies = run(EDGE, json!([whole])).await;
        assert_eq!(replies[0]["result"][0], 1, "{replies}");
        let replies = run(EDGE, edge["request"].clone()).await;
        let [about_token, limit] = replies.as_array().unwrap().as_slice() else { panic!() };
        // Markers of the subject, the client, the token and the session. Blocks, of which earlier
        // versions ask nothing, and the record are missing.
        let revoked_at = "1750000000";
        let values = about_token["result"].as_array().unwrap();
        let (markers, others) = values.split_at(4);
        let revoked = || Value::from(revoked_at);
        assert_eq!(markers, [revoked(), Value::Null, revoked(), revoked()]);
        assert!(others.iter().all(Value::is_null), "{replies}");
        assert_eq!(limit["result"][0], 1, "{replies}");
        for name in ["lease", "response", "refusal", "revocation", "before a replay"] {
            let replies = run(EDGE, edge["refresh"][name].clone()).await;
            assert!(!replies.to_string().contains("\"error\""), "{name}: {replies}");
        }
        let replies = run(EDGE, edge["session seen"].clone()).await;
        assert_eq!(replies, json!([{ "result": 0 }, { "result": 0 }]));

        // The form of each reply. `replies.json` is what core is tested with.
        let known = golden(&set, "replies.json");
        let replies = run(
            EDGE,
            json!([
                ["GET", "pc:token:none"],
                ["SET", "pc:token:x", "1800000000", "EX", "60"],
                ["RPUSH", "pc:usage", "a", "b", "c", "d", "e", "f", "g"],
                ["MGET", "pc:token:none", "pc:token:x"],
            ]),
        )
        .await;
        for (reply, known) in replies.as_array().unwrap().iter().zip(known.as_array().unwrap()) {
            assert_eq!(*reply, known[0]);
        }
        let _: () = redis::cmd("FLUSHALL").query(&mut redis.connection()).unwrap();
    }
}

/// While edges of two versions share a store, their scripts share the state of each limit.
#[tokio::test]
async fn limit_scripts_of_two_versions_admit_no_more_than_the_quota() {
    let redis = Redis::start(&[]);
    let mut connection = redis.connection();
    for set in sets::all() {
        let earlier = sets::read(&set, "scripts/limit").unwrap();
        // This Redis has no gateway before it, which would remove the first line.
        let earlier = earlier.strip_prefix(KEY_LOCKING).unwrap_or(&earlier).to_owned();
        for algorithm in ["gcra", "token_bucket", "sliding_window", "fixed_window"] {
            let key = format!("{}:{algorithm}", set.display());
            let mut admitted = 0;
            for round in 0..30 {
                let script = if round % 2 == 0 { earlier.as_str() } else { LIMIT_SCRIPT };
                let mut count = redis::cmd("EVAL");
                count.arg(script).arg(1).arg(&key).arg(algorithm).arg(10).arg(600_000).arg(1);
                let reply: Vec<u64> = count.arg(10).query(&mut connection).unwrap();
                admitted += reply[0];
            }
            assert_eq!(admitted, 10, "{algorithm}");
        }
    }
}

/// Runs the programs of the previous version, built in the folder `PORTCULLIS_PREVIOUS`, next to
/// those of this one. `cargo xtask test --long` builds it.
#[tokio::test]
#[ignore = "needs another version"]
async fn previous_version_works_with_this_one() {
    let folder = std::env::var("PORTCULLIS_PREVIOUS").expect("PORTCULLIS_PREVIOUS is the folder");
    let own = folder.clone();
    let old = tokio::task::spawn_blocking(move || Stack::start_in(Path::new(&own), &[], json!({})));
    let old = old.await.unwrap();
    let new_edge = start_edge(in_front_of(&old)).await;
    both_edges_agree(&old, &new_edge).await;
    let vars = in_front_of(&SHARED);
    let options = ["--only", "edge"];
    let old_edge = move || Stack::start_in(Path::new(&folder), &options, vars);
    let old_edge = tokio::task::spawn_blocking(old_edge).await.unwrap();
    both_edges_agree(&SHARED, &old_edge).await;
    stop((old, new_edge, old_edge)).await;
}

/// Returns the settings of another edge in front of a system.
fn in_front_of(system: &Stack) -> Value {
    json!({
        "store.url": system.fact("store_url"), "STORE_TOKEN": system.fact("edge_store_token"),
        "upstream.url": system.fact("upstream_url"), "auth.url": system.fact("auth_url"),
        "RECORD_ENCRYPTION_KEY": RECORD_ENCRYPTION_KEY,
        "issuers": [{
            "issuer": system.fact("edge_url"), "audience": AUDIENCE, "algorithms": ["EdDSA"],
            "jwks_url": format!("{}/.well-known/jwks.json", system.fact("auth_url")),
            "sessions_in_store": true,
        }],
        "routes": [
            { "name": "refresh", "path": "/auth/refresh", "access": "auth", "endpoint": "token" },
            { "name": "logout", "path": "/auth/logout", "access": "auth", "endpoint": "revocation" },
            { "name": "auth", "path": "/auth/*", "access": "auth" },
            { "name": "api", "path": "/api/*", "access": "protected" },
        ],
    })
}

/// Logs in through each edge of a system, and uses the session through the other.
async fn both_edges_agree(system: &Stack, other: &Stack) {
    for (first, second) in [(system, other), (other, system)] {
        let login = json!({ "username": system.username(), "password": system.password() });
        let session = Tokens::read(post(&first.edge("/auth/login"), login).await).await;
        assert_eq!(get_with(&second.edge("/api/hello"), &session.access).await.status(), 200);
        let refresh = json!({ "refresh_token": session.refresh });
        let one = Tokens::read(post(&first.edge("/auth/refresh"), refresh.clone()).await).await;
        let again = Tokens::read(post(&second.edge("/auth/refresh"), refresh).await).await;
        assert_eq!(one.access, again.access, "a repeated refresh gets the same response");
        for edge in [first, second] {
            assert_eq!(get_with(&edge.edge("/api/hello"), &one.access).await.status(), 200);
        }
        let logout = json!({ "refresh_token": one.refresh });
        assert_eq!(post(&second.edge("/auth/logout"), logout).await.status(), 204);
        for edge in [first, second] {
            let response = get_with(&edge.edge("/api/hello"), &one.access).await;
            assert_refused(response, 401, "token_revoked").await;
        }
    }
}
