//! Several protected resources behind one edge: a token for one API passes at no other, in any
//! state of the caches.

use crate::support::edge::start_edge;
use crate::support::http::{assert_refused, client, get, get_with};
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header, now};
use crate::support::provider::{Behaviour, Provider};
use crate::support::stack::{Stack, stop};
use futures_util::future::join_all;
use serde_json::{Value, json};

const A: &str = "https://a.example/mcp";
const B: &str = "https://b.example/mcp";

/// Starts an edge whose verdicts are cached. Its provider knows opaque tokens that are called after
/// their API, which it names; `otherwise` is what it says of others.
async fn edge_before(provider: &Provider) -> Stack {
    let route = |name: &str, members: Value| {
        let mut route = json!({
            "name": name, "path": format!("/{name}"), "access": "protected", "require": "not_revoked",
        });
        route.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        route
    };
    let introspection = json!({
        "url": provider.url("/introspect"), "client_id": "edge", "client_secret_variable": "PROVIDER_SECRET",
    });
    start_edge(json!({
        "PROVIDER_SECRET": "secret",
        "revocation.delay_seconds_max": 30,
        "introspection.per_second_max": 100_000,
        "resource.url": "https://own.example",
        "issuers": [
            { "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks() },
            { "issuer": ISSUER, "audience": AUDIENCE, "introspection": introspection },
        ],
        "resources": [{ "name": "a", "url": A }, { "name": "b", "url": B }],
        "routes": [
            route("a", json!({ "resource": "a", "scopes": ["api:read"] })),
            route("b", json!({ "resource": "b" })),
            route("own", json!({})),
            route("open", json!({ "resource": "b", "access": "optional" })),
        ],
    }))
    .await
}

fn provider() -> Provider {
    let says =
        |aud: &str| json!({ "active": true, "sub": "alice", "scope": "api:read", "aud": aud });
    Provider::start(Behaviour::Answers {
        containing: "opaque-a".to_owned(),
        body: says(A).to_string(),
        otherwise: says(B).to_string(),
    })
}

fn token(aud: Value) -> String {
    TRUSTED.sign(&header(json!({})), &claims(json!({ "aud": aud })))
}

/// Calls each route, and asserts that the token passes at these alone.
async fn assert_passes(edge: &Stack, token: &str, at: &[&str]) {
    for name in ["a", "b", "own", "open"] {
        let response = get_with(&edge.edge(&format!("/{name}")), token).await;
        if at.contains(&name) {
            assert_eq!(response.status(), 200, "{name} of {at:?}");
            continue;
        }
        let challenge = assert_refused(response, 401, "audience_mismatch").await;
        let metadata = match name {
            "a" => "https://a.example/.well-known/oauth-protected-resource/mcp",
            "own" => "https://own.example/.well-known/oauth-protected-resource",
            _ => "https://b.example/.well-known/oauth-protected-resource/mcp",
        };
        assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
        assert!(challenge.contains(&format!("resource_metadata=\"{metadata}\"")), "{challenge}");
    }
}

#[tokio::test]
async fn token_passes_at_its_own_api_in_every_state_of_the_caches() {
    let provider = provider();
    let [first, second] = [edge_before(&provider).await, edge_before(&provider).await];
    // Tokens of this run alone: the store that tests share may know others.
    let opaque = |name: &str| format!("opaque-{name}-{}", now());
    let tokens: [(String, &[&str]); 6] = [
        (token(json!(A)), &["a"]),
        (token(json!(B)), &["b", "open"]),
        (token(json!(AUDIENCE)), &["own"]),
        (token(json!([A, B])), &["a", "b", "open"]),
        (opaque("a"), &["a"]),
        (opaque("b"), &["b", "open"]),
    ];
    for (token, at) in &tokens {
        // First at the wrong APIs and in any order, then from the cache of the isolate, then in an
        // isolate that has seen nothing, while the store has a record of an opaque token.
        assert_passes(&first, token, at).await;
        assert_passes(&first, token, at).await;
        assert_passes(&second, token, at).await;
    }
    assert!(provider.take().len() <= 4, "an answer is shared by the store");
    // A response without an audience is for no API of these.
    let says = json!({ "active": true, "sub": "alice" }).to_string();
    provider.behave(Behaviour::Answer { status: 200, body: says, after_ms: 0 });
    let nameless = opaque("nameless");
    assert_passes(&first, &nameless, &["own"]).await;
    assert_passes(&second, &nameless, &["own"]).await;
    let foreign = token(json!("https://foreign.example"));
    assert_passes(&first, &foreign, &[]).await;
    stop((first, second)).await;
}

/// Requests to both APIs with both tokens at once, while the isolate verifies and caches them.
#[tokio::test]
async fn tokens_never_cross_in_a_race() {
    let provider = provider();
    let edge = edge_before(&provider).await;
    for round in 0..5 {
        let fresh = |aud: &str, name: &str| {
            let jti = format!("race-{name}-{round}-{}", now());
            TRUSTED.sign(&header(json!({})), &claims(json!({ "aud": aud, "jti": jti })))
        };
        let opaque = |name: &str| format!("opaque-{name}-race-{round}-{}", now());
        let tokens =
            [(fresh(A, "a"), "a"), (fresh(B, "b"), "b"), (opaque("a"), "a"), (opaque("b"), "b")];
        let send = async |token: &str, own: &str, to: &str| {
            let response = get_with(&edge.edge(&format!("/{to}")), token).await;
            let status = response.status().as_u16();
            assert_eq!(status, if own == to { 200 } else { 401 }, "{own} at {to}");
        };
        let all = (0..64).map(|at: usize| {
            let (token, own) = &tokens[at % 4];
            send(token, own, ["a", "b"][at / 4 % 2])
        });
        join_all(all).await;
    }
    stop(edge).await;
}

#[tokio::test]
async fn each_api_has_its_own_metadata_by_its_host() {
    let provider = provider();
    let edge = edge_before(&provider).await;
    let fetch = async |host: &str, path: &str| {
        let url = edge.edge(&format!("/.well-known/oauth-protected-resource{path}"));
        let response = client().get(url).header("host", host).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.unwrap())
    };
    for (host, path, resource, scopes) in [
        ("a.example", "/mcp", A, json!(["api:read"])),
        // RFC 9728 section 3.2: a list without values is left out.
        ("b.example", "/mcp", B, Value::Null),
        ("own.example", "", "https://own.example", Value::Null),
    ] {
        let (status, metadata) = fetch(host, path).await;
        assert_eq!((status, &metadata["resource"]), (200, &json!(resource)));
        assert_eq!(metadata["authorization_servers"], json!([ISSUER]));
        assert_eq!(metadata["scopes_supported"], scopes);
    }
    let (status, problem) = fetch("c.example", "/mcp").await;
    assert_eq!((status, &problem["code"]), (404, &json!("route_not_found")));
    // The refusal of a request without a token leads there.
    let challenge =
        assert_refused(get(&edge.edge("/a")).send().await.unwrap(), 401, "token_missing").await;
    let metadata = "https://a.example/.well-known/oauth-protected-resource/mcp";
    assert!(challenge.contains(&format!("resource_metadata=\"{metadata}\"")), "{challenge}");
    assert_eq!(get(&edge.edge("/open")).send().await.unwrap().status(), 200);
    stop(edge).await;
}
