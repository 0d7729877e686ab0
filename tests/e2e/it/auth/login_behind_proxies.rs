//! Login throttling behind proxies, and which statements the auth service trusts in a request that
//! did not come through the edge.

use crate::support::edge::start_edge;
use crate::support::http::client;
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header};
use crate::support::provider::Provider;
use crate::support::stack::{Stack, stop};
use reqwest::Response;
use serde_json::{Value, json};

/// Logs in at the auth service itself, with header fields that a proxy or an attacker sends.
async fn login_directly(
    stack: &Stack,
    username: &str,
    password: &str,
    headers: &[(&str, &str)],
) -> Response {
    let body = json!({ "username": username, "password": password });
    let request = client().post(format!("{}/auth/login", stack.fact("auth_url")));
    let with_header = |request: reqwest::RequestBuilder, (name, value): &(&str, &str)| {
        request.header(*name, *value)
    };
    headers.iter().fold(request, with_header).json(&body).send().await.unwrap()
}

/// Logs in through the edge.
async fn login(stack: &Stack, username: &str, password: &str, address: &str) -> Response {
    let body = json!({ "username": username, "password": password });
    let request = client().post(stack.edge("/auth/login")).header("cf-connecting-ip", address);
    request.header("user-agent", "the owner's browser").json(&body).send().await.unwrap()
}

const LIMITS: [&str; 2] = ["LOGIN_ATTEMPTS_PER_ADDRESS=20", "LOGIN_ATTEMPTS_PER_USERNAME=5"];

/// Proxies append the address that they see. Each client still has its own counter.
#[tokio::test]
async fn clients_behind_one_proxy_do_not_share_a_counter() {
    let stack = Stack::start_with_auth_env(&[LIMITS[0], LIMITS[1], "TRUSTED_PROXY_HOPS=2"]).await;
    for number in 1..=31 {
        let (username, chain) =
            (format!("u{number}"), format!("198.51.100.{number}, 172.71.0.{number}"));
        let response =
            login_directly(&stack, &username, "wrongwrong", &[("x-forwarded-for", &chain)]).await;
        assert_eq!(response.status(), 401, "attempt {number}");
    }
    let chain = [("x-forwarded-for", "203.0.113.9, 172.71.0.9")];
    let response = login_directly(&stack, stack.username(), stack.password(), &chain).await;
    assert_eq!(response.status(), 200, "a correct login from the 32nd address");
    // What a client writes before the trusted entries does not count.
    let mut verified = 0;
    for number in 1..=40 {
        let (username, chain) =
            (format!("v{number}"), format!("203.0.113.{number}, 198.51.100.200, 172.71.0.1"));
        let response =
            login_directly(&stack, &username, "wrongwrong", &[("x-forwarded-for", &chain)]).await;
        verified += usize::from(response.status() == 401);
    }
    assert!((20..=24).contains(&verified), "{verified} of 40 were verified");
    stop(stack).await;
}

/// An attacker who reaches the auth service can claim neither the owner's address nor new ones.
#[tokio::test]
async fn forged_address_at_the_auth_service_does_not_lock_its_owner_out() {
    let stack = Stack::start_with_auth_env(&LIMITS).await;
    let home = "203.0.113.5";
    let mut verified = 0;
    for number in 0..25 {
        let username = if number < 6 { stack.username().to_owned() } else { format!("u{number}") };
        let forged = [
            ("x-forwarded-for", home),
            ("portcullis-address", home),
            ("portcullis-country", "AQ"),
            ("portcullis-edge-auth", "v1;t=1;mac=AAAA"),
        ];
        let response = login_directly(&stack, &username, "wrongwrong", &forged).await;
        verified += usize::from(response.status() == 401);
    }
    assert!(verified < 25, "the attacker's own address is throttled");
    let response = login(&stack, stack.username(), stack.password(), home).await;
    assert_eq!(response.status(), 200, "the owner, through the edge, from home");
    let tokens: Value = response.json().await.unwrap();
    let sessions = client().get(stack.edge("/auth/sessions"));
    let token = tokens["access_token"].as_str().unwrap();
    let sessions: Value = sessions.bearer_auth(token).send().await.unwrap().json().await.unwrap();
    let session = &sessions["sessions"][0];
    assert_eq!(session["address"], home, "{sessions}");
    assert_eq!(session["device"], "the owner's browser", "{sessions}");
    let count = async |outcome: &str| {
        let label = format!("outcome=\"{outcome}\"");
        stack.metric("auth_url", "portcullis_auth_edge_auth_total", &label).await
    };
    let counts = (count("valid").await, count("mismatch").await, count("missing").await);
    assert_eq!(counts, (1, 25, 0), "valid, mismatch and missing proofs");
    let warnings = stack.log("auth").matches("edge_not_authenticated").count();
    assert_eq!(warnings, 1, "one warning a minute");
    stop(stack).await;
}

/// The edge authenticates itself to the auth service, and to no other server. A client's own proof
/// is removed in any spelling.
#[tokio::test]
async fn only_the_auth_service_receives_the_edges_proof() {
    let [auth, upstream] = [(); 2].map(|()| Provider::serving("{}"));
    let keys = Provider::serving(&TRUSTED.jwks().to_string());
    let introspection = Provider::serving(r#"{"active":true,"sub":"alice","scope":""}"#);
    let issuer = |issuer: &str, more: Value| {
        let mut issuer = json!({ "issuer": issuer, "audience": AUDIENCE });
        issuer.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        issuer
    };
    let edge = start_edge(json!({
        "auth.url": auth.url(""),
        "upstream.url": upstream.url(""),
        "PROVIDER_SECRET": "secret",
        "issuers": [
            issuer(ISSUER, json!({ "algorithms": ["EdDSA"], "jwks_url": keys.url("/jwks") })),
            issuer("https://opaque.example", json!({ "introspection": {
                "url": introspection.url("/introspect"), "client_id": "edge",
                "client_secret_variable": "PROVIDER_SECRET",
            }})),
        ],
        "routes": [
            { "name": "auth", "path": "/auth/*", "access": "auth" },
            { "name": "token", "path": "/oauth/token", "access": "auth", "endpoint": "token" },
            { "name": "public", "path": "/public/*", "access": "public" },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
        ],
    }))
    .await;
    let send = async |path: &str, token: Option<&str>| {
        let request = client().post(edge.edge(path)).header("user-agent", "the owner's browser");
        let request = FORGED.iter().fold(request, |request, name| request.header(*name, "forged"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("cf-connecting-ip", "192.0.2.7");
        let request = request.body("grant_type=refresh_token&refresh_token=of-the-proof-test");
        let request = token.into_iter().fold(request, |request, token| request.bearer_auth(token));
        assert_eq!(request.send().await.unwrap().status(), 200, "{path}");
    };
    send("/auth/login?x=1", None).await;
    send("/oauth/token", None).await;
    for request in take(&auth, 2) {
        let proofs: Vec<&str> = request.lines().filter(|line| line.contains("edge-auth")).collect();
        assert!(matches!(proofs[..], [proof] if proof.contains(": v1;t=")), "{request}");
        assert!(request.contains("portcullis-address: 192.0.2.7"), "{request}");
        assert!(!request.contains("forged"), "{request}");
    }
    send("/public/x", None).await;
    send("/api/x", Some(&TRUSTED.sign(&header(json!({})), &claims(json!({}))))).await;
    send("/api/x", Some("an-opaque-token")).await;
    for server in [(&upstream, 3), (&keys, 1), (&introspection, 1)] {
        for request in take(server.0, server.1) {
            assert!(!request.contains("edge-auth") && !request.contains("forged"), "{request}");
            assert!(!request.contains("portcullis-address"), "{request}");
        }
    }
    stop(edge).await;
}

/// Returns the requests to a server in lower case. There must be `count` of them.
fn take(server: &Provider, count: usize) -> Vec<String> {
    let requests = server.take();
    assert_eq!(requests.len(), count, "{requests:?}");
    requests.into_iter().map(|request| request.to_lowercase()).collect()
}

const FORGED: [&str; 6] = [
    "portcullis-edge-auth",
    "portcullis_edge_auth",
    "portcullis.edge-auth",
    "x-portcullis-edge-auth",
    "portcullis-address",
    "portcullis_address",
];
