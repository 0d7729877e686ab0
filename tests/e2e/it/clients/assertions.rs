//! The example upstreams that check the gate's assertions: behind a real edge, and given near
//! misses directly.

use crate::support::edge::start_edge;
use crate::support::environment::ROOT;
use crate::support::http::{get, get_with};
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header, now};
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::stack::{Stack, stop};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use aws_lc_rs::{hmac, signature};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::process::Command;

/// The checker of examples/rust-api, which compiles there for a Worker.
#[path = "../../../../examples/rust-api/src/assertion.rs"]
mod rust_api;

const EDGE_ISSUER: &str = "https://edge.example";

/// A key with which the edge signs, and the tests sign near misses.
enum Key {
    Ed25519(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
}

impl Key {
    fn read(jwk: &Value) -> Self {
        let member = |name: &str| decode(jwk[name].as_str().unwrap());
        if jwk["kty"] == "OKP" {
            let (d, x) = (member("d"), member("x"));
            return Self::Ed25519(Ed25519KeyPair::from_seed_and_public_key(&d, &x).unwrap());
        }
        let point = [vec![4], member("x"), member("y")].concat();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair =
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, &member("d"), &point).unwrap();
        Self::Es256(pair)
    }

    /// Returns another key of the same kind.
    fn other(&self) -> Self {
        let random = SystemRandom::new();
        match self {
            Self::Ed25519(_) => {
                let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                Self::Ed25519(Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap())
            }
            Self::Es256(_) => {
                Self::Es256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
            }
        }
    }

    fn sign(&self, input: &str) -> String {
        let signature = match self {
            Self::Ed25519(pair) => pair.sign(input.as_bytes()),
            Self::Es256(pair) => pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap(),
        };
        URL_SAFE_NO_PAD.encode(signature::Signature::as_ref(&signature))
    }
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// A genuine assertion, taken apart.
struct Genuine {
    text: String,
    header: Value,
    payload: Value,
}

impl Genuine {
    fn read(text: String) -> Self {
        let parts: Vec<&str> = text.split('.').collect();
        let json = |part: &str| serde_json::from_slice(&decode(part)).unwrap();
        let (header, payload) = (json(parts[0]), json(parts[1]));
        Self { text, header, payload }
    }

    /// Returns the text to sign with these changes. A member set to null is removed.
    fn input(&self, header: Value, payload: Value) -> String {
        let encode = |base: &Value, changes: &Value| {
            let mut members = base.as_object().unwrap().clone();
            members.extend(changes.as_object().unwrap().clone());
            members.retain(|_, value| !value.is_null());
            URL_SAFE_NO_PAD.encode(Value::Object(members).to_string())
        };
        format!("{}.{}", encode(&self.header, &header), encode(&self.payload, &payload))
    }

    /// Returns assertions with one fault each, and what the fault is.
    fn near_misses(&self, key: &Key, jwk: &Value) -> Vec<(String, String)> {
        let sign = |header: Value, payload: Value| {
            let input = self.input(header, payload);
            format!("{input}.{}", key.sign(&input))
        };
        let mut all = Vec::new();
        for payload in [
            json!({ "exp": now() - 10 }),
            json!({ "exp": null }),
            json!({ "aud": "another" }),
            json!({ "aud": null }),
            json!({ "iss": ISSUER }),
            json!({ "iss": null }),
            json!({ "jti": null }),
        ] {
            all.push((payload.to_string(), sign(json!({}), payload)));
        }
        let other_algorithm = if jwk["alg"] == "EdDSA" { "ES256" } else { "EdDSA" };
        for header in [
            json!({ "typ": "at+jwt" }),
            json!({ "typ": null }),
            json!({ "kid": "another" }),
            json!({ "kid": null }),
            json!({ "alg": other_algorithm }),
            json!({ "alg": null }),
            json!({ "crit": ["unknown"], "unknown": true }),
        ] {
            all.push((header.to_string(), sign(header, json!({}))));
        }
        for algorithm in ["none", "None"] {
            let input = self.input(json!({ "alg": algorithm }), json!({}));
            all.push((format!("{algorithm} unsigned"), format!("{input}.")));
            all.push((format!("{algorithm} signed"), format!("{input}.{}", key.sign(&input))));
        }
        // The public key as a shared secret, in the forms in which a library could hold it.
        let public = jwk.as_object().unwrap().iter().filter(|(name, _)| *name != "d");
        let public: Value = Value::Object(public.map(|(n, v)| (n.clone(), v.clone())).collect());
        let x = jwk["x"].as_str().unwrap();
        for secret in [decode(x), x.as_bytes().to_vec(), public.to_string().into_bytes()] {
            let input = self.input(json!({ "alg": "HS256" }), json!({}));
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), input.as_bytes());
            all.push(("HS256".into(), format!("{input}.{}", URL_SAFE_NO_PAD.encode(mac.as_ref()))));
        }
        let input = self.input(json!({}), json!({}));
        all.push(("another key".into(), format!("{input}.{}", key.other().sign(&input))));
        let (_, signature) = self.text.rsplit_once('.').unwrap();
        let mallory = self.input(json!({}), json!({ "sub": "mallory" }));
        all.push(("another payload".into(), format!("{mallory}.{signature}")));
        let short = &self.text[..self.text.len() - 4];
        for text in ["", "a.b.c", short, &format!("{0}, {0}", self.text)] {
            all.push((text.to_owned(), text.to_owned()));
        }
        all
    }
}

/// Starts an example's server, which fetches the keys of the edge.
fn serve(command: &mut Command, folder: &Folder, port: u16, edge: &str, audience: &str) -> Process {
    command.env("PORT", port.to_string()).env("GATE_URL", edge);
    command.env("ASSERTION_ISSUER", EDGE_ISSUER).env("ASSERTION_AUDIENCE", audience);
    let process = Process::start(command, folder.file(&format!("{audience}.log")));
    wait_for_port(port, &process);
    process
}

/// The example for Node, with the modules that `npm install` would add.
fn node(folder: &Folder) -> Command {
    for name in ["assertion.mjs", "server.mjs"] {
        let text = std::fs::read_to_string(format!("{ROOT}/examples/upstream-node/{name}"));
        folder.write(name, &text.unwrap());
    }
    let modules = format!("{ROOT}/tests/e2e/clients/node_modules");
    std::os::unix::fs::symlink(modules, folder.file("node_modules")).unwrap();
    let mut command = Command::new(format!("{ROOT}/node_modules/.bin/node"));
    command.arg(folder.file("server.mjs"));
    command
}

fn python() -> Command {
    let mut command = Command::new(format!("{ROOT}/.tools/python/bin/python"));
    command.arg(format!("{ROOT}/examples/upstream-python/server.py"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Returns the genuine assertion for an audience, as an upstream receives it.
async fn genuine(edge: &Stack, audience: &str, token: &str) -> Genuine {
    let echo = get_with(&edge.edge(&format!("/echo/{audience}")), token).await;
    let echo: Value = echo.json().await.unwrap();
    Genuine::read(echo["headers"]["portcullis-assertion"].as_str().unwrap().to_owned())
}

async fn examples_check_assertions_by(jwk: Value) {
    let (key, [node_port, python_port]) = (Key::read(&jwk), free_ports());
    let route = |path: &str, audience: &str, port: Option<u16>| {
        let mut route = json!({
            "name": path.replace('/', "-").trim_start_matches('-'), "path": path,
            "access": "protected", "require": "not_revoked", "assertion": true,
            "assertion_audience": audience,
        });
        if let Some(port) = port {
            route["upstream"] = format!("http://127.0.0.1:{port}").into();
        }
        route
    };
    let edge = start_edge(json!({
        "issuers": [{
            "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks(),
        }],
        "routes": [
            route("/node", "node", Some(node_port)), route("/python", "python", Some(python_port)),
            route("/echo/node", "node", None), route("/echo/python", "python", None),
            route("/echo/rust", "rust", None),
        ],
        "assertion": { "issuer": EDGE_ISSUER, "audience": "unused" },
        "ASSERTION_KEY": jwk.to_string(),
    }))
    .await;
    let folder = Folder::new();
    let servers = [
        ("node", node_port, serve(&mut node(&folder), &folder, node_port, &edge.edge(""), "node")),
        (
            "python",
            python_port,
            serve(&mut python(), &folder, python_port, &edge.edge(""), "python"),
        ),
    ];
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({})));

    // Without its settings, the checker of the example does not start.
    for missing in ["ASSERTION_ISSUER", "ASSERTION_AUDIENCE"] {
        let mut command = Command::new(format!("{ROOT}/node_modules/.bin/node"));
        command.arg(folder.file("server.mjs")).env("GATE_URL", edge.edge(""));
        command.env("ASSERTION_ISSUER", EDGE_ISSUER).env("ASSERTION_AUDIENCE", "node");
        let stopped = command.env_remove(missing).env("PORT", "0").output().unwrap();
        let text = String::from_utf8_lossy(&stopped.stderr).into_owned();
        assert!(!stopped.status.success() && text.contains("is not set"), "{missing}: {text}");
    }

    for (name, port, process) in &servers {
        // A client's own assertion does not reach the upstream.
        let request = get(&edge.edge(&format!("/{name}"))).bearer_auth(&token);
        let response = request.header("portcullis-assertion", "forged").send().await.unwrap();
        assert_eq!(response.status(), 200, "{name}: {}", process.text());
        let hello: Value = response.json().await.unwrap();
        assert_eq!(hello, json!({ "hello": "alice", "scope": "api:read" }), "{name}");

        let url = format!("http://127.0.0.1:{port}/");
        let status = async |assertion: &str| {
            let request = get(&url).header("portcullis-assertion", assertion);
            request.send().await.unwrap().status().as_u16()
        };
        let genuine = genuine(&edge, name, &token).await;
        assert_eq!(status(&genuine.text).await, 200, "{name}: {}", process.text());
        let input = genuine.input(json!({}), json!({}));
        let signed = format!("{input}.{}", key.sign(&input));
        assert_eq!(status(&signed).await, 200, "{name}: {}", process.text());
        for (fault, assertion) in genuine.near_misses(&key, &jwk) {
            assert_eq!(status(&assertion).await, 401, "{name} accepts {fault}: {assertion}");
        }
        let foreign = self::genuine(&edge, "rust", &token).await;
        assert_eq!(status(&foreign.text).await, 401, "{name} accepts that of another upstream");
        assert_eq!(get(&url).send().await.unwrap().status(), 401, "{name} accepts none");
        assert_eq!(status(&genuine.text).await, 200, "{name}: {}", process.text());
    }

    let keys = get(&edge.edge("/.well-known/portcullis-jwks.json")).send().await.unwrap();
    let keys = keys.text().await.unwrap();
    let checker = rust_api::Checker::new(&keys, EDGE_ISSUER, "rust").unwrap();
    let genuine = genuine(&edge, "rust", &token).await;
    let caller = checker.check(&genuine.text).unwrap();
    let expect = rust_api::Caller {
        sub: Some("alice".into()),
        sub_iss: ISSUER.into(),
        scope: "api:read".into(),
        sid: Some("s1".into()),
        client_id: Some("c1".into()),
        jti: genuine.payload["jti"].as_str().unwrap().into(),
    };
    assert_eq!(caller, expect);
    let input = genuine.input(json!({}), json!({}));
    assert_eq!(checker.check(&format!("{input}.{}", key.sign(&input))).unwrap(), expect);
    for (fault, assertion) in genuine.near_misses(&key, &jwk) {
        let accepted = checker.check(&assertion);
        assert!(accepted.is_err(), "Rust accepts {fault}: {assertion}");
    }
    drop(servers);
    stop(edge).await;
}

/// The key of RFC 8032 section 7.1, test 1.
#[tokio::test]
async fn example_upstreams_accept_only_genuine_assertions_by_ed25519() {
    examples_check_assertions_by(json!({
        "kty": "OKP", "crv": "Ed25519", "kid": "edge-1", "alg": "EdDSA",
        "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }))
    .await;
}

/// The key of RFC 6979 appendix A.2.5.
#[tokio::test]
async fn example_upstreams_accept_only_genuine_assertions_by_es256() {
    examples_check_assertions_by(json!({
        "kty": "EC", "crv": "P-256", "kid": "edge-2", "alg": "ES256",
        "d": "ya-p2EW6dRZrXCFXZ7HWk05Qw9s26JsSe4piKxIPZyE",
        "x": "YP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Y",
        "y": "eQP-EAi4vJmkGunpVii8ZPLxsgwtfp9Rd6PClNRGIpk",
    }))
    .await;
}
