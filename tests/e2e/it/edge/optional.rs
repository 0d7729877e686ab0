//! Routes with `access = "optional"`: requests without a token are anonymous, and a token that is
//! present must be valid.

use crate::support::edge::{launch_edge, start_edge};
use crate::support::http::{assert_refused, client, get_with};
use crate::support::issuer::{AUDIENCE, ISSUER, Issuer, TRUSTED, claims, header, now};
use crate::support::provider::{Behaviour, Provider};
use crate::support::socket::Socket;
use crate::support::stack::{SHARED, Stack, stop};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::Duration;

fn issuers() -> Value {
    json!([{ "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks": TRUSTED.jwks() }])
}

/// The names of limits are in the keys of the store, which other tests share.
static EDGE: LazyLock<Stack> = LazyLock::new(|| {
    let route = |name: &str, members: Value| {
        let mut route = json!({
            "name": name, "path": format!("/api/{name}"), "access": "optional", "require": "not_revoked",
        });
        route.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        route
    };
    launch_edge(json!({
        "issuers": issuers(),
        "limits": [
            { "name": "optional-guests", "quota": 3, "window_seconds": 60, "by": "address", "timing": "exact" },
            { "name": "optional-users", "quota": 3, "window_seconds": 60, "by": "subject", "timing": "exact" },
        ],
        "routes": [
            route("free", json!({ "cookie": "session" })),
            route("scoped", json!({ "scopes": ["api:read"] })),
            route("limited", json!({
                "limits": ["optional-users"], "anonymous_limits": ["optional-guests"],
            })),
            route("trial", json!({ "enforce": false })),
        ],
    }))
});

fn token(changes: Value) -> String {
    TRUSTED.sign(&header(json!({})), &claims(changes))
}

fn request(path: &str) -> RequestBuilder {
    client().get(EDGE.edge(path)).header("portcullis-subject", "mallory")
}

/// Returns the headers that the upstream received.
async fn received(response: Response) -> Value {
    assert_eq!(response.status(), 200);
    response.json::<Value>().await.unwrap()["headers"].clone()
}

#[tokio::test]
async fn request_without_a_token_is_forwarded_without_an_identity() {
    let spoofed = [
        ("portcullis-scope", "admin"),
        ("portcullis-issuer", ISSUER),
        ("portcullis_session", "s"),
        ("x-portcullis-client", "c"),
        ("portcullis-assertion", "a.b.c"),
    ];
    let mut guest = request("/api/free").header("cookie", "theme=dark");
    for (name, value) in spoofed {
        guest = guest.header(name, value);
    }
    let headers = received(guest.send().await.unwrap()).await;
    let identity =
        |name: &String| name.replace('_', "-").trim_start_matches("x-").starts_with("portcullis-");
    let left: Vec<&String> =
        headers.as_object().unwrap().keys().filter(|name| identity(name)).collect();
    assert_eq!(left, [""; 0], "{headers}");
    assert_eq!(headers["cookie"], "theme=dark");

    let known = request("/api/free").bearer_auth(token(json!({})));
    let headers = received(known.send().await.unwrap()).await;
    assert_eq!(headers["portcullis-subject"], "alice");
    assert_eq!(headers["authorization"], Value::Null);
    let by_cookie = request("/api/free").header("cookie", format!("session={}", token(json!({}))));
    let headers = received(by_cookie.send().await.unwrap()).await;
    assert_eq!(
        (&headers["portcullis-subject"], &headers["cookie"]),
        (&json!("alice"), &Value::Null)
    );
    // The cookie of another site's page is refused, and not left out.
    let foreign = client().post(EDGE.edge("/api/free")).header("origin", "https://evil.example");
    let foreign = foreign.header("cookie", format!("session={}", token(json!({}))));
    assert_refused(foreign.send().await.unwrap(), 403, "cross_site_denied").await;
}

#[tokio::test]
async fn token_that_is_present_is_never_ignored() {
    let mallory = Issuer::new().sign(&header(json!({})), &claims(json!({})));
    let bearer = |token: String| format!("Bearer {token}");
    let other = token(json!({ "aud": "https://other.example" }));
    for (credential, status, code) in [
        ("Basic eDp5".to_owned(), 401, "token_missing"),
        ("Bearer".to_owned(), 400, "credential_malformed"),
        ("Bearer a b".to_owned(), 400, "credential_malformed"),
        (bearer("a.b.c".to_owned()), 401, "token_malformed"),
        (bearer(mallory), 401, "signature_invalid"),
        (bearer(token(json!({ "exp": now() - 100 }))), 401, "token_expired"),
        (bearer(other), 401, "audience_mismatch"),
        (bearer(token(json!({ "iss": "https://evil.example" }))), 401, "issuer_unknown"),
    ] {
        let response =
            request("/api/free").header("authorization", &credential).send().await.unwrap();
        let challenge = assert_refused(response, status, code).await;
        assert!(challenge.starts_with("Bearer"), "{credential}: {challenge}");
    }
    let narrow = token(json!({ "scope": "other" }));
    let response = get_with(&EDGE.edge("/api/scoped"), &narrow).await;
    assert_refused(response, 403, "scope_insufficient").await;
    received(request("/api/scoped").send().await.unwrap()).await;

    // A revoked token is refused, also after it was accepted.
    let revoked = token(json!({ "sid": "optional-revoked" }));
    assert_eq!(get_with(&EDGE.edge("/api/free"), &revoked).await.status(), 200);
    let hash = digest(&SHA256, format!("{ISSUER}\noptional-revoked").as_bytes());
    let key = format!("pc:revoked:sid:{}", URL_SAFE_NO_PAD.encode(hash.as_ref()));
    SHARED.put(&key, &now().to_string()).await;
    let response = get_with(&EDGE.edge("/api/free"), &revoked).await;
    assert_refused(response, 401, "token_revoked").await;

    // A route that does not enforce forwards it as it came, without an identity.
    let trial = request("/api/trial").bearer_auth("a.b.c").send().await.unwrap();
    let headers = received(trial).await;
    assert_eq!(
        (&headers["portcullis-subject"], &headers["authorization"]),
        (&Value::Null, &json!("Bearer a.b.c"))
    );
}

#[tokio::test]
async fn anonymous_requests_have_limits_of_their_own() {
    let guest = async |address: &str| {
        let request = request("/api/limited").header("cf-connecting-ip", address);
        request.send().await.unwrap()
    };
    let known = async |subject: &str| {
        let request = request("/api/limited").bearer_auth(token(json!({ "sub": subject })));
        request.header("cf-connecting-ip", "192.0.2.71").send().await.unwrap().status().as_u16()
    };
    // The store that tests share may have counted these subjects in an earlier run.
    let (first, second) = (format!("first-{}", now()), format!("second-{}", now()));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(guest("192.0.2.71").await.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_refused(guest("192.0.2.71").await, 429, "rate_limited").await;
    // Neither another address nor a token at the same one is counted there.
    assert_eq!(guest("192.0.2.72").await.status(), 200);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(known(&first).await);
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(known(&second).await, 200);
    assert_eq!(guest("192.0.2.72").await.status(), 200, "a user's limit is not a guest's");
    // Who is over the limit of anonymous requests gains nothing by a token that is not valid.
    let forged =
        request("/api/limited").bearer_auth("a.b.c").header("cf-connecting-ip", "192.0.2.71");
    assert_refused(forged.send().await.unwrap(), 401, "token_malformed").await;
}

/// Anonymous requests need the store for their limits alone, and their streams for nothing.
#[tokio::test]
async fn anonymous_request_never_asks_the_store_about_a_token() {
    let upstream = Provider::start(Behaviour::WebSocketEcho);
    let store = Provider::start(Behaviour::Answer {
        status: 200,
        body: r#"[{"result":[null,null,null,null,null,null,null]}]"#.to_owned(),
        after_ms: 0,
    });
    let edge = start_edge(json!({
        "issuers": issuers(), "store.url": store.url(""), "upstream.url": upstream.url(""),
        "routes": [{ "name": "a", "path": "/a", "access": "optional", "require": "not_revoked",
            "stream_recheck_seconds": 1 }],
    }))
    .await;
    let address = edge.edge("").trim_start_matches("http://").to_owned();
    let mut guest = Socket::open_anonymously(&address, "/a");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    guest.echoes(b"anonymous");
    assert_eq!(store.take(), [""; 0], "no recheck");
    let mut known = Socket::open(&address, "/a", &token(json!({})));
    known.echoes(b"known");
    assert_eq!(store.take().len(), 1);
    // Without the store, a token is refused, and an anonymous stream goes on.
    store.behave(Behaviour::Hangs);
    let refused = get_with(&edge.edge("/a"), &token(json!({ "jti": "j2" }))).await;
    assert_refused(refused, 503, "store_unreachable").await;
    guest.echoes(b"still anonymous");
    let mut other = Socket::open_anonymously(&address, "/a");
    other.echoes(b"new");
    let (code, _) = known.closed();
    assert_eq!(code, 1008);
    stop(edge).await;
}
