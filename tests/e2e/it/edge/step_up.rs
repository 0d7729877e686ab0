//! The user's login that a route requires (RFC 9470), and claims at places within others.

use crate::support::edge::launch_edge;
use crate::support::environment::ROOT;
use crate::support::http::{assert_refused, get, get_with};
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header, now};
use crate::support::provider::{Provider, answer};
use crate::support::stack::Stack;
use serde_json::{Value, json};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

const MAX_AGE_SECONDS: u64 = 4;

static PROVIDER: LazyLock<Provider> =
    LazyLock::new(|| Provider::start(answer(200, r#"{"active":false}"#)));

static EDGE: LazyLock<Stack> = LazyLock::new(|| {
    let scope_claims = ["scope", "/realm_access/roles"];
    launch_edge(json!({
        "issuers": [
            { "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks(),
              "leeway_seconds": 0, "scope_claims": scope_claims },
            { "issuer": "https://opaque.example", "audience": AUDIENCE, "leeway_seconds": 0,
              "introspection": { "url": PROVIDER.url("/introspect"), "client_id": "edge",
                "client_secret_variable": "PROVIDER_SECRET" } },
        ],
        "routes": [
            { "name": "pay", "path": "/api/pay", "access": "protected", "require": "not_revoked",
              "suffixes": "same", "scopes": ["pay"], "acr_values": ["phr", "phrh"],
              "max_age_seconds": MAX_AGE_SECONDS },
            { "name": "org-team", "path": "/api/team", "access": "protected", "require": "not_revoked",
              "suffixes": "same", "scopes_any": ["staff", "admin"],
              "claims": { "/org/id": [org("o1"), org("o2")] },
              "limit": { "quota": 1, "window_seconds": 600, "by": "claim:/org/id", "timing": "exact",
                "plans": { "claim": "/org/plan", "quotas": { "pro": 3 } } } },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
        ],
        "identity": { "claims": { "/org/id": "x-org" } },
        "resource": { "url": "https://api.example/v1" },
        "revocation.delay_seconds_max": 60,
        "PROVIDER_SECRET": "secret",
    }))
});

/// Returns the name of an organization that no other run has used up a quota of.
fn org(name: &str) -> String {
    static RUN: LazyLock<String> = LazyLock::new(|| format!("{}-{}", std::process::id(), now()));
    format!("{name}-{}", *RUN)
}

const METADATA: &str = "https://api.example/.well-known/oauth-protected-resource/v1";

fn sign(changes: Value) -> String {
    TRUSTED.sign(&header(json!({})), &claims(changes))
}

/// Requests a path as a strict client. Returns the status and the challenges.
async fn request_strictly(path: &str, token: &str) -> (u64, Value) {
    let mut node = Command::new(format!("{ROOT}/node_modules/.bin/node"));
    node.arg(format!("{ROOT}/tests/e2e/clients/step_up.mjs"));
    node.env("RESOURCE_URL", EDGE.edge(path)).env("TOKEN", token);
    let output = tokio::task::spawn_blocking(move || node.output().unwrap()).await.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    (read["status"].as_u64().unwrap(), read["challenges"].clone())
}

#[tokio::test]
async fn strict_client_reads_from_the_challenge_how_to_log_in_again() {
    let password = sign(json!({ "scope": "pay", "acr": "pwd", "auth_time": now() }));
    let (status, challenges) = request_strictly("/api/pay", &password).await;
    let expect = json!([{ "scheme": "bearer", "parameters": {
        "error": "insufficient_user_authentication",
        "error_description": "the user must log in again; the token's acr is not enough for this route",
        "acr_values": "phr phrh", "max_age": "4", "scope": "pay", "resource_metadata": METADATA,
    }}]);
    assert_eq!((status, &challenges), (401, &expect));
    // What the client then asks for is enough.
    let parameters = &challenges[0]["parameters"];
    let acr = parameters["acr_values"].as_str().unwrap().split(' ').next().unwrap();
    let better = json!({ "scope": parameters["scope"], "acr": acr, "auth_time": now() });
    assert_eq!(request_strictly("/api/pay", &sign(better)).await, (200, json!([])));
}

#[tokio::test]
async fn route_requires_class_and_time_of_the_login() {
    let at = now();
    for (login, claim) in [
        (json!({}), "acr"),
        (json!({ "acr": "PHR", "auth_time": at }), "acr"),
        (json!({ "acr": ["phr"], "auth_time": at }), "acr"),
        (json!({ "acr": "phr" }), "auth_time"),
        (json!({ "acr": "phr", "auth_time": at.to_string() }), "auth_time"),
        (json!({ "acr": "phr", "auth_time": at - MAX_AGE_SECONDS - 1 }), "auth_time"),
        (json!({ "acr": "phr", "auth_time": at + 600 }), "auth_time"),
    ] {
        // It also lacks the scope, which the same challenge names.
        let response = get_with(&EDGE.edge("/api/pay"), &sign(login.clone())).await;
        assert_eq!(response.status(), 401, "{login}");
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["code"], "insufficient_user_authentication", "{login}");
        assert_eq!(body["claim"], claim, "{login}");
        let id = body["request_id"].as_str().unwrap();
        let log = EDGE.log("edge");
        let line = log.lines().find(|line| line.contains(id)).unwrap_or_default();
        assert!(line.contains(&format!(r#""claim":"{claim}""#)), "{line}");
        // Other routes accept the token.
        assert_eq!(get_with(&EDGE.edge("/api/x"), &sign(login.clone())).await.status(), 200);
    }
    let login = json!({ "acr": "phrh", "auth_time": now(), "scope": "read" });
    let response = get_with(&EDGE.edge("/api/pay"), &sign(login)).await;
    assert_refused(response, 403, "scope_insufficient").await;
}

/// The verdicts on both tokens are cached for a minute.
#[tokio::test]
async fn login_becomes_too_old_while_its_verdict_is_cached() {
    LazyLock::force(&EDGE);
    let login_at = now();
    let until = login_at + MAX_AGE_SECONDS;
    let mut login = json!({ "scope": "pay", "acr": "phr", "auth_time": login_at });
    let jwt = sign(login.clone());
    for (name, value) in [("active", json!(true)), ("sub", json!("o")), ("exp", json!(until + 600))]
    {
        login[name] = value;
    }
    PROVIDER.behave(answer(200, &login.to_string()));
    let tokens = [jwt, format!("opaque-{}-{login_at}", std::process::id())];
    let mut accepted = [0, 0];
    while now() <= until + 1 {
        for (token, accepted) in tokens.iter().zip(&mut accepted) {
            let sent_at = now();
            let response = get_with(&EDGE.edge("/api/pay"), token).await;
            if response.status() == 200 {
                assert!(sent_at <= until, "accepted {} s after the login", sent_at - login_at);
                *accepted += 1;
            } else {
                let code = "insufficient_user_authentication";
                let challenge = assert_refused(response, 401, code).await;
                assert!(now() > until, "refused {} s after the login", now() - login_at);
                assert!(challenge.contains("the token's auth_time is not enough"), "{challenge}");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(accepted.iter().all(|count| *count > 3), "{accepted:?}");
    // Other routes still accept the tokens, without another question.
    for token in &tokens {
        assert_eq!(get_with(&EDGE.edge("/api/x"), token).await.status(), 200);
    }
    assert_eq!(PROVIDER.take().len(), 1);
}

#[tokio::test]
async fn challenge_without_an_error_names_the_scope_of_its_route() {
    let missing = get(&EDGE.edge("/api/pay")).send().await.unwrap();
    let challenge = assert_refused(missing, 401, "token_missing").await;
    assert_eq!(challenge, format!("Bearer scope=\"pay\", resource_metadata=\"{METADATA}\""));
    let missing = get(&EDGE.edge("/api/team")).send().await.unwrap();
    let challenge = assert_refused(missing, 401, "token_missing").await;
    assert!(challenge.starts_with("Bearer scope=\"staff admin\", "), "{challenge}");
    let expired = get_with(&EDGE.edge("/api/pay"), &sign(json!({ "exp": now() - 60 }))).await;
    let challenge = assert_refused(expired, 401, "token_expired").await;
    assert!(challenge.contains("error=\"invalid_token\"") && challenge.contains("scope=\"pay\""));
    let missing = get(&EDGE.edge("/api/x")).send().await.unwrap();
    let challenge = assert_refused(missing, 401, "token_missing").await;
    assert_eq!(challenge, format!("Bearer resource_metadata=\"{METADATA}\""));
}

/// Scopes, requirements, limits, plans and identity fields from claims within others.
#[tokio::test]
async fn claims_are_read_at_their_places() {
    let call = async |changes: Value| {
        let response = get_with(&EDGE.edge("/api/team"), &sign(changes)).await;
        let body: Value = response.json().await.unwrap();
        let headers = &body["headers"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&body["code"]), text(&headers["portcullis-scope"]), text(&headers["x-org"]))
    };
    let staff = |name: &str, plan: &str| {
        json!({
            "realm_access": { "roles": ["staff", "api:read", "two words"] },
            "org": { "id": org(name), "plan": plan },
        })
    };
    let refused = |code: &str| (code.to_owned(), String::new(), String::new());
    let expect = (String::new(), "api:read staff".to_owned(), org("o1"));
    assert_eq!(call(staff("o1", "free")).await, expect);
    // The limit counts each value of the claim, by the plan at another place.
    assert_eq!(call(staff("o1", "free")).await, refused("rate_limited"));
    for _ in 0..3 {
        assert_eq!(call(staff("o2", "pro")).await.0, "");
    }
    assert_eq!(call(staff("o2", "pro")).await, refused("rate_limited"));
    assert_eq!(call(staff("o3", "pro")).await, refused("claim_insufficient"));
    for (name, value) in [
        // Neither is the name of a claim, nor is a role in another claim a scope.
        ("realm_access", json!({ "groups": ["staff"] })),
        ("realm_access", json!(["staff"])),
        ("/realm_access/roles", json!(["staff"])),
    ] {
        let mut changes = staff("o1", "pro");
        changes["realm_access"] = Value::Null;
        changes[name] = value;
        assert_eq!(call(changes).await, refused("scope_insufficient"), "{name}");
    }
    let mut changes = staff("o1", "pro");
    changes["org"] = json!({ "/org/id": org("o1"), "id": [org("o4")] });
    assert_eq!(call(changes).await, refused("claim_insufficient"));
    let mut changes = staff("o1", "pro");
    changes["realm_access"]["roles"] = json!(7);
    assert_eq!(call(changes).await, refused("token_malformed"));
}
