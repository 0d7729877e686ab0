//! The decisions of routes before a token is verified: methods, denied paths, issuers, and
//! warnings.

use crate::support::edge::launch_edge;
use crate::support::http::{assert_refused, client, field, get_with};
use crate::support::issuer::{AUDIENCE, ISSUER, Issuer, TRUSTED, claims, header};
use crate::support::stack::Stack;
use reqwest::Method;
use serde_json::{Value, json};
use std::sync::LazyLock;

const PARTNER: &str = "https://partner.example";
static PARTNERS_KEY: LazyLock<Issuer> = LazyLock::new(Issuer::new);

static EDGE: LazyLock<Stack> = LazyLock::new(|| {
    launch_edge(json!({
        "issuers": [
            { "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks() },
            { "issuer": PARTNER, "audience": AUDIENCE, "algorithms": ["EdDSA"],
              "jwks": PARTNERS_KEY.jwks() },
        ],
        "routes": [
            { "name": "reports", "path": "/api/reports/*", "access": "protected", "methods": ["GET"],
              "require": "not_revoked", "scopes": ["reports"] },
            { "name": "uploads", "path": "/api/reports/new", "access": "protected", "methods": ["PUT"],
              "require": "not_revoked" },
            { "name": "internal", "path": "/api/internal/*", "access": "deny" },
            { "name": "own", "path": "/api/own/*", "access": "protected", "require": "not_revoked",
              "issuers": [ISSUER] },
            { "name": "trial", "path": "/api/trial", "access": "protected", "require": "not_revoked",
              "scopes": ["trial"], "suffixes": "same", "enforce": false },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked" },
        ],
        "cors": { "origins": ["https://app.example"] },
    }))
});

fn token(issuer: &Issuer, name: &str) -> String {
    issuer.sign(&header(json!({})), &claims(json!({ "iss": name })))
}

#[tokio::test]
async fn route_for_one_method_keeps_its_paths_from_weaker_routes() {
    let token = token(&TRUSTED, ISSUER);
    let send = async |method: &str, path: &str| {
        let request = client().request(method.parse().unwrap(), EDGE.edge(path));
        request.bearer_auth(&token).send().await.unwrap()
    };
    let response = send("GET", "/api/reports/x").await;
    assert_refused(response, 403, "scope_insufficient").await;
    for method in ["POST", "PUT", "OPTIONS", "DELETE", "PROPFIND"] {
        let response = send(method, "/api/reports/x").await;
        assert_eq!(field(&response, "allow"), "GET, HEAD", "{method}");
        assert_refused(response, 405, "method_not_allowed").await;
    }
    assert_eq!(send("PUT", "/api/reports/new").await.status(), 200);
    let response = send("POST", "/api/reports/new").await;
    assert_eq!(field(&response, "allow"), "GET, HEAD, PUT");
    assert_refused(response, 405, "method_not_allowed").await;
    assert_eq!(send("POST", "/api/x").await.status(), 200);

    let preflight = async |method: &str| {
        let request = client().request(Method::OPTIONS, EDGE.edge("/api/reports/x"));
        let request = request.header("origin", "https://app.example");
        request.header("access-control-request-method", method).send().await.unwrap().status()
    };
    assert_eq!(preflight("GET").await, 204);
    assert_eq!(preflight("POST").await, 405);
}

#[tokio::test]
async fn denied_path_is_refused_with_a_good_token() {
    let token = token(&TRUSTED, ISSUER);
    for path in ["/api/internal", "/api/internal/x", "/api/internal.json"] {
        assert_refused(get_with(&EDGE.edge(path), &token).await, 403, "route_denied").await;
    }
}

/// Both issuers have a subject `alice`.
#[tokio::test]
async fn upstream_receives_the_issuer_of_the_subject() {
    let (own, partner) = (token(&TRUSTED, ISSUER), token(&PARTNERS_KEY, PARTNER));
    for (token, issuer) in [(&own, ISSUER), (&partner, PARTNER)] {
        let request = client().get(EDGE.edge("/api/x")).bearer_auth(token);
        let request = request.header("portcullis-issuer", "https://forged.example");
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(body["headers"]["portcullis-subject"], "alice");
        assert_eq!(body["headers"]["portcullis-issuer"], issuer);
    }
    assert_eq!(get_with(&EDGE.edge("/api/own/x"), &own).await.status(), 200);
    // The token is already cached as valid.
    let response = get_with(&EDGE.edge("/api/own/x"), &partner).await;
    let challenge = assert_refused(response, 401, "issuer_refused").await;
    assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
}

/// On a live API, a route that does not enforce changes no response, and logs what it would refuse.
#[tokio::test]
async fn route_that_does_not_enforce_logs_what_it_would_refuse() {
    let send = async |credential: &str| {
        let request = client().get(EDGE.edge("/api/trial")).header("authorization", credential);
        let request = request.header("portcullis-subject", "mallory");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{credential}");
        let id = field(&response, "x-request-id");
        let headers = response.json::<Value>().await.unwrap()["headers"].clone();
        assert_eq!(headers["authorization"], credential, "the API checks it itself");
        let would_refuse = EDGE.log("edge").lines().find(|line| line.contains(&id)).map(|line| {
            let line: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
            line["would_refuse"].as_str().unwrap_or_default().to_owned()
        });
        (would_refuse.unwrap_or_else(|| panic!("{id} is not in the log")), headers)
    };
    for (credential, code) in [
        ("Basic eDp5", "token_missing"),
        ("Bearer a.b.c", "token_malformed"),
        (&format!("Bearer {}", token(&TRUSTED, ISSUER)), "scope_insufficient"),
    ] {
        let (would_refuse, headers) = send(credential).await;
        assert_eq!(would_refuse, code, "{credential}");
        assert_eq!(headers["portcullis-subject"], Value::Null);
    }
    let scoped = claims(json!({ "iss": ISSUER, "scope": "trial" }));
    let good = TRUSTED.sign(&header(json!({})), &scoped);
    let (would_refuse, headers) = send(&format!("Bearer {good}")).await;
    assert_eq!(would_refuse, "");
    assert_eq!(headers["portcullis-subject"], "alice");
}

#[tokio::test]
async fn missing_claim_is_named_in_the_response_and_in_the_log() {
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({ "exp": null })));
    let response = get_with(&EDGE.edge("/api/x"), &token).await;
    assert_eq!(response.status(), 401);
    let body: Value = response.json().await.unwrap();
    assert_eq!((&body["code"], &body["claim"]), (&json!("claim_missing"), &json!("exp")));
    let id = body["request_id"].as_str().unwrap();
    let log = EDGE.log("edge");
    let line = log.lines().find(|line| line.contains(id) && line.contains("claim_missing"));
    assert!(line.is_some_and(|line| line.contains(r#""claim":"exp""#)), "{line:?}");
}

#[tokio::test]
async fn weaker_later_routes_are_named_at_the_start() {
    get_with(&EDGE.edge("/api/x"), "x").await;
    let log = EDGE.log("edge");
    let line = log.lines().find(|line| line.contains("configuration_warning")).unwrap_or_default();
    for log in [line, &EDGE.own_log()] {
        for part in [
            "uploads takes other methods of reports's paths",
            "never reaches api",
            "accept the tokens",
        ] {
            assert!(log.contains(part), "{part}: {log}");
        }
    }
}
