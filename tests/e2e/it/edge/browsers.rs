//! Cross-origin calls, cookies, metadata that names the login server, and the identity that an
//! upstream receives.

use crate::support::edge::launch_edge;
use crate::support::http::{assert_refused, client, field, get, get_with};
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header};
use crate::support::stack::{Stack, stop};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use std::sync::LazyLock;

const APP: &str = "https://app.example";

/// The edge's own key: RFC 8032 section 7.1, test 1.
const ASSERTION_KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"edge-1","alg":"EdDSA",
    "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

static EDGE: LazyLock<Stack> = LazyLock::new(|| {
    launch_edge(json!({
        "issuers": [{
            "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks(),
        }],
        "routes": [
            { "name": "cookie", "path": "/cookie/*", "access": "protected", "require": "not_revoked",
              "cookie": "__Host-token", "cors": { "origins": [APP], "credentials": true, "headers": ["X-Own"] } },
            { "name": "passed", "path": "/passed/*", "access": "protected", "require": "not_revoked",
              "cookie": "__Host-token", "forward_token": true },
            { "name": "signed", "path": "/signed/*", "access": "protected", "require": "not_revoked", "assertion": true },
            { "name": "any", "path": "/any/{id}/x", "access": "protected", "require": "not_revoked",
              "scopes_any": ["a", "api:read"], "claims": { "tenant": ["acme", "other"] } },
            { "name": "limited", "path": "/limited", "access": "public",
              "limit": { "quota": 1, "window_seconds": 60, "by": "address",
                         "algorithm": "fixed_window" } },
            { "name": "open", "path": "/open/*", "access": "public", "cors": { "origins": ["*"] } },
            { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked", "scopes": ["api:read"] },
            { "name": "admin", "path": "/admin/*", "access": "protected", "require": "not_revoked", "scopes": ["admin"] },
        ],
        "cors": { "origins": [APP] },
        "resource.url": "https://api.example/v1",
        "identity": { "subject": "x-user", "claims": { "tenant": "x-tenant" } },
        "assertion": { "issuer": "https://edge.example", "audience": "inner", "seconds": 30 },
        "ASSERTION_KEY": ASSERTION_KEY,
    }))
});

fn token() -> String {
    TRUSTED.sign(&header(json!({})), &claims(json!({ "tenant": "acme" })))
}

async fn preflight(path: &str, origin: &str, method: &str) -> Response {
    let request = client().request(Method::OPTIONS, EDGE.edge(path)).header("origin", origin);
    request.header("access-control-request-method", method).send().await.unwrap()
}

fn allowed(response: &Response) -> String {
    field(response, "access-control-allow-origin")
}

#[tokio::test]
async fn preflight_is_answered_without_a_token() {
    for path in ["/api/x", "/admin/x", "/cookie/x", "/nowhere", "/limited"] {
        let response = preflight(path, APP, "PUT").await;
        assert_eq!((response.status().as_u16(), allowed(&response).as_str()), (204, APP), "{path}");
        assert!(field(&response, "access-control-allow-methods").contains("PUT"));
        assert_eq!(field(&response, "vary"), "Origin");
        assert!(field(&response, "x-request-id").len() > 30);
        let foreign = preflight(path, "https://evil.example", "PUT").await;
        assert_eq!((foreign.status().as_u16(), allowed(&foreign).as_str()), (204, ""), "{path}");
    }
    let response = preflight("/cookie/x", APP, "POST").await;
    assert_eq!(field(&response, "access-control-allow-credentials"), "true");
    assert_eq!(field(&response, "access-control-allow-headers"), "X-Own");
    let response = preflight("/open/x", "https://any.example", "POST").await;
    assert_eq!(allowed(&response), "*");
    assert_eq!(field(&response, "access-control-allow-credentials"), "");
    // Other OPTIONS requests need a token, and none of them reaches the upstream.
    let request = client().request(Method::OPTIONS, EDGE.edge("/api/x")).header("origin", APP);
    assert_refused(request.send().await.unwrap(), 401, "token_missing").await;
}

#[tokio::test]
async fn cors_headers_are_on_every_response() {
    let call = async |path: &str, token: Option<&str>| {
        let mut request = get(&EDGE.edge(path)).header("origin", APP);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    };
    let token = token();
    call("/limited", None).await;
    for (path, token, status) in [
        ("/api/x", Some(token.as_str()), 200),
        ("/api/x", None, 401),
        ("/api/x", Some("x.y.z"), 401),
        ("/api//x", None, 400),
        ("/admin/x", Some(&token), 403),
        ("/nowhere", None, 404),
        ("/limited", None, 429),
    ] {
        let response = call(path, token).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(allowed(&response), APP, "{path} {status}");
        assert!(field(&response, "access-control-expose-headers").contains("X-Request-Id"));
        assert_eq!(field(&response, "vary"), "Origin", "{path}");
        assert!(field(&response, "x-request-id").len() > 30, "{path}");
    }
    let response = get(&EDGE.edge("/api/x")).send().await.unwrap();
    assert_eq!((allowed(&response).as_str(), field(&response, "vary").as_str()), ("", "Origin"));
}

#[tokio::test]
async fn cors_headers_are_on_outage_responses() {
    let edge = tokio::task::spawn_blocking(|| {
        launch_edge(json!({
            "cors": { "origins": [APP] },
            "issuers": [{
                "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks(),
            }],
            "store.url": "http://127.0.0.1:1",
        }))
    });
    let edge = edge.await.unwrap();
    let request = get(&edge.edge("/api/x")).header("origin", APP).bearer_auth(token());
    let response = request.send().await.unwrap();
    assert_eq!(allowed(&response), APP);
    assert_refused(response, 503, "store_unreachable").await;
    stop(edge).await;
}

#[tokio::test]
async fn cookie_is_accepted_on_its_route_and_site_only() {
    let token = token();
    let call = async |method: &str, path: &str, fields: &[(&str, &str)]| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = client().request(method, EDGE.edge(path));
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    let cookie = format!("a=1; __Host-token={token}; b=2");
    let own = EDGE.edge("");
    let response = call("GET", "/cookie/x", &[("cookie", &cookie)]).await;
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["headers"]["cookie"], "a=1; b=2");
    assert!(!text.contains(&token), "{text}");
    for origin in [own.as_str(), APP] {
        let response = call("POST", "/cookie/x", &[("cookie", &cookie), ("origin", origin)]).await;
        assert_eq!(response.status(), 200, "{origin}");
    }
    for fields in [
        vec![("origin", "https://evil.example")],
        vec![("origin", "null")],
        vec![("sec-fetch-site", "cross-site")],
        vec![],
    ] {
        let mut all = vec![("cookie", cookie.as_str())];
        all.extend(fields.clone());
        assert_refused(call("POST", "/cookie/x", &all).await, 403, "cross_site_denied").await;
        all.extend([("upgrade", "websocket"), ("connection", "Upgrade")]);
        assert_refused(call("GET", "/cookie/x", &all).await, 403, "cross_site_denied").await;
    }
    let bearer = format!("Bearer {token}");
    // Upstreams of other routes do not receive the cookie.
    let response = call("GET", "/open/x", &[("cookie", &cookie)]).await;
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["headers"]["cookie"], "a=1; b=2");
    let both = [("cookie", cookie.as_str()), ("authorization", bearer.as_str())];
    assert_refused(call("GET", "/cookie/x", &both).await, 400, "credential_malformed").await;
    let twice = format!("{cookie}; __Host-token={token}");
    let twice = call("GET", "/cookie/x", &[("cookie", &twice)]).await;
    assert_refused(twice, 400, "credential_malformed").await;
    assert_refused(call("GET", "/api/x", &[("cookie", &cookie)]).await, 401, "token_missing").await;
    // A token in the query or in a form is ignored.
    let query = format!("/api/x?access_token={token}");
    assert_refused(call("GET", &query, &[]).await, 401, "token_missing").await;
    let form = client()
        .post(EDGE.edge("/api/x"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("access_token={token}"));
    assert_refused(form.send().await.unwrap(), 401, "token_missing").await;
}

#[tokio::test]
async fn token_is_forwarded_when_the_route_says_so() {
    let token = token();
    let body: Value = get_with(&EDGE.edge("/passed/x"), &token).await.json().await.unwrap();
    assert_eq!(body["headers"]["authorization"], format!("Bearer {token}"));
    let cookie = format!("__Host-token={token}");
    let response = get(&EDGE.edge("/passed/x")).header("cookie", &cookie).send().await.unwrap();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["headers"]["cookie"], cookie);
}

#[tokio::test]
async fn identity_headers_use_the_configured_names() {
    let response = get(&EDGE.edge("/api/x"))
        .bearer_auth(token())
        .header("X-User", "mallory")
        .header("x_user", "mallory")
        .header("X_Tenant", "mallory")
        .header("Portcullis-Subject", "mallory")
        .header("Portcullis-Assertion", "mallory")
        .send()
        .await
        .unwrap();
    let text = response.text().await.unwrap();
    assert!(!text.contains("mallory"), "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&body["headers"]["x-user"], &body["headers"]["x-tenant"]),
        (&json!("alice"), &json!("acme"))
    );
    assert!(body["headers"]["portcullis-assertion"].is_null());
}

#[tokio::test]
async fn signed_assertion_carries_the_identity() {
    let response = get_with(&EDGE.edge("/signed/x"), &token()).await;
    let request_id = field(&response, "x-request-id");
    let body: Value = response.json().await.unwrap();
    let assertion = body["headers"]["portcullis-assertion"].as_str().unwrap();
    let (input, signature) = assertion.rsplit_once('.').unwrap();
    let keys: Value = get(&EDGE.edge("/.well-known/portcullis-jwks.json"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let key = &keys["keys"][0];
    assert!(key["d"].is_null() && key["kid"] == "edge-1" && key["use"] == "sig", "{keys}");
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let public = UnparsedPublicKey::new(&ED25519, decode(key["x"].as_str().unwrap()));
    public.verify(input.as_bytes(), &decode(signature)).unwrap();
    let payload: Value = serde_json::from_slice(&decode(input.split_once('.').unwrap().1)).unwrap();
    let life = payload["exp"].as_u64().unwrap() - payload["iat"].as_u64().unwrap();
    assert_eq!(life, 30);
    for (name, value) in [
        ("iss", "https://edge.example"),
        ("aud", "inner"),
        ("sub", "alice"),
        ("sub_iss", ISSUER),
        ("sid", "s1"),
        ("client_id", "c1"),
        ("jti", &request_id),
    ] {
        assert_eq!(payload[name], value, "{payload}");
    }
}

#[tokio::test]
async fn assertion_key_with_mismatched_halves_is_rejected() {
    // The public half is from RFC 8032's second test.
    let key = ASSERTION_KEY.replace(
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw",
    );
    let start = move || {
        launch_edge(json!({
            "issuers": [{
                "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks(),
            }],
            "routes": [
                { "name": "api", "path": "/api/*", "access": "protected", "require": "not_revoked", "assertion": true },
            ],
            "assertion": { "issuer": "https://edge.example", "audience": "inner" },
            "ASSERTION_KEY": key,
        }))
    };
    let edge = tokio::task::spawn_blocking(start).await.unwrap();
    let response = get_with(&edge.edge("/api/x"), &token()).await;
    assert_refused(response, 503, "configuration_invalid").await;
    assert!(edge.log("edge").contains("ASSERTION_KEY"), "{}", edge.log("edge"));
    stop(edge).await;
}

#[tokio::test]
async fn traceparent_is_forwarded_or_created() {
    let call = async |given: Option<&str>| {
        let mut request = get(&EDGE.edge("/open/x")).header("tracestate", "a=1");
        if let Some(given) = given {
            request = request.header("traceparent", given);
        }
        let response = request.send().await.unwrap();
        let id = field(&response, "x-request-id");
        (id, response.json::<Value>().await.unwrap()["headers"].clone())
    };
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (_, headers) = call(Some(good)).await;
    assert_eq!((&headers["traceparent"], &headers["tracestate"]), (&json!(good), &json!("a=1")));
    for bad in [None, Some("00-x-y-01"), Some("")] {
        let (id, headers) = call(bad).await;
        let begun = headers["traceparent"].as_str().unwrap().to_owned();
        assert!(begun.starts_with(&format!("00-{}-", id.replace('-', ""))), "{begun} {id}");
        assert!(headers["tracestate"].is_null());
        assert_eq!(headers["x-request-id"], id);
    }
}

#[tokio::test]
async fn protected_resource_metadata_names_the_login_server() {
    let url = EDGE.edge("/.well-known/oauth-protected-resource/v1");
    let response = get(&url).header("origin", "https://any.example").send().await.unwrap();
    assert_eq!(field(&response, "content-type"), "application/json");
    assert_eq!(allowed(&response), "*");
    let document: Value = response.json().await.unwrap();
    assert_eq!(document["resource"], "https://api.example/v1");
    assert_eq!(document["authorization_servers"], json!([ISSUER]));
    assert_eq!(document["scopes_supported"], json!(["a", "api:read", "admin"]));
    let head = client().head(&url).send().await.unwrap();
    assert_eq!(head.status(), 200);

    let metadata =
        "resource_metadata=\"https://api.example/.well-known/oauth-protected-resource/v1\"";
    let missing = get(&EDGE.edge("/api/x")).send().await.unwrap();
    let challenge = assert_refused(missing, 401, "token_missing").await;
    assert_eq!(challenge, format!("Bearer scope=\"api:read\", {metadata}"));
    let scope = get_with(&EDGE.edge("/admin/x"), &token()).await;
    let challenge = assert_refused(scope, 403, "scope_insufficient").await;
    assert!(
        challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"admin\"")
    );
    assert!(challenge.ends_with(metadata), "{challenge}");
}

#[tokio::test]
async fn scopes_and_claims_are_required_by_the_route() {
    let call = async |changes: Value| {
        let token = TRUSTED.sign(&header(json!({})), &claims(changes));
        let response = get_with(&EDGE.edge("/any/7/x"), &token).await;
        let body: Value = response.json().await.unwrap();
        body["code"].as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(call(json!({ "tenant": "acme" })).await, "");
    assert_eq!(call(json!({ "tenant": ["x", "other"], "scope": "b a" })).await, "");
    assert_eq!(call(json!({ "tenant": "acme", "scope": "b" })).await, "scope_insufficient");
    assert_eq!(call(json!({ "tenant": "acm" })).await, "claim_insufficient");
    assert_eq!(call(json!({})).await, "claim_insufficient");
}
