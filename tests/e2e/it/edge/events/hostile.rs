//! Events that are malformed, forged, old or another issuer's.

use super::scene::{OTHER, OTHER_ISSUER, Scene};
use crate::support::events::{
    LOGOUT, Push, RISC, access, event_claims, event_header, global, logout, security_event, user,
};
use crate::support::http::client;
use crate::support::issuer::{AUDIENCE, ISSUER, Issuer, TRUSTED, header, now};
use crate::support::stack::stop;
use serde_json::{Value, json};

/// Returns hostile events, each with its description, its status and its code. `seen` took effect
/// before.
pub fn hostile(seen: &Push) -> Vec<(&'static str, Push, u16, &'static str)> {
    let sub = "alice";
    let typed = |typ: &str, header: Value, claims: Value| {
        TRUSTED.sign(&event_header(typ, header), &event_claims(claims))
    };
    let logout_claims = |changes: Value| {
        let mut all = json!({ "sub": sub, "events": { LOGOUT: {} } });
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        all
    };
    let logout = |header: Value, claims: Value| {
        Push::logout(&typed("logout+jwt", header, logout_claims(claims)))
    };
    let none = || json!({});
    let disabled = format!("{RISC}/account-disabled");
    let set = |subject: Value| Push::security_event(&security_event(&disabled, &subject));
    let foreign = json!({ "format": "iss_sub", "iss": OTHER_ISSUER, "sub": sub });
    // Signed by the trusted issuer, or by another one in its name.
    let in_its_name = |issuer: &Issuer| {
        issuer.sign(&event_header("logout+jwt", none()), &event_claims(logout_claims(none())))
    };
    let good = in_its_name(&TRUSTED);
    let (input, _) = good.rsplit_once('.').unwrap();
    let unsigned = TRUSTED.sign(
        &event_header("logout+jwt", json!({ "alg": "none" })),
        &event_claims(logout_claims(none())),
    );
    let (unsigned, _) = unsigned.rsplit_once('.').unwrap();
    let id_token = json!({ "typ": "JWT" });
    let id_claims = json!({ "sub": sub, "nonce": "n", "exp": now() + 300, "at_hash": "h" });
    let id_token = TRUSTED.sign(&header(id_token), &event_claims(id_claims));
    let token = access(sub, "s");
    let (tail, padding) = (format!("{input}.AAAA"), "x".repeat(17_000));
    vec![
        ("an ID token", Push::logout(&id_token), 400, "event_type_refused"),
        ("an access token", Push::logout(&token), 400, "event_type_refused"),
        ("an access token as SET", Push::security_event(&token), 400, "event_type_refused"),
        ("an access token as bearer", Push::global(&token, &user(sub)), 401, "event_type_refused"),
        ("a logout token as SET", Push::security_event(&good), 400, "event_type_refused"),
        ("a logout token as bearer", Push::global(&good, &user(sub)), 401, "event_type_refused"),
        ("a replay", seen.clone(), 200, ""),
        ("a foreign subject", set(foreign.clone()), 400, "subject_refused"),
        ("a foreign subject, global", Push::global(&global(), &foreign), 400, "subject_refused"),
        (
            "a tenant",
            set(json!({ "format": "complex", "tenant": user(sub) })),
            400,
            "subject_refused",
        ),
        ("an address", set(json!({ "format": "email", "email": sub })), 400, "subject_refused"),
        ("no subject", set(json!({})), 400, "event_malformed"),
        ("another audience", logout(none(), json!({ "aud": AUDIENCE })), 400, "audience_mismatch"),
        ("no audience", logout(none(), json!({ "aud": null })), 400, "claim_missing"),
        (
            "another issuer",
            logout(none(), json!({ "iss": "https://x.example" })),
            400,
            "issuer_unknown",
        ),
        (
            "the issuer with a slash",
            logout(none(), json!({ "iss": format!("{ISSUER}/") })),
            400,
            "issuer_unknown",
        ),
        ("another issuer's key", Push::logout(&in_its_name(&OTHER)), 400, "signature_invalid"),
        (
            "the issuer of another key",
            logout(none(), json!({ "iss": OTHER_ISSUER })),
            400,
            "signature_invalid",
        ),
        ("a nonce", logout(none(), json!({ "nonce": "n" })), 400, "event_malformed"),
        ("the future", logout(none(), json!({ "iat": now() + 120 })), 400, "token_not_yet_valid"),
        ("the past", logout(none(), json!({ "iat": now() - 90_000 })), 400, "token_expired"),
        ("an end", logout(none(), json!({ "exp": now() - 60 })), 400, "token_expired"),
        ("no jti", logout(none(), json!({ "jti": null })), 400, "claim_missing"),
        ("a long jti", logout(none(), json!({ "jti": "x".repeat(300) })), 400, "event_malformed"),
        ("no signature", Push::logout(&format!("{unsigned}.")), 400, "algorithm_refused"),
        ("HS256", logout(json!({ "alg": "HS256" }), none()), 400, "algorithm_refused"),
        (
            "a key of its own",
            logout(json!({ "jwk": TRUSTED.jwk("k1") }), none()),
            400,
            "token_malformed",
        ),
        ("a damaged signature", Push::logout(&tail), 400, "signature_invalid"),
        (
            "two events",
            logout(none(), json!({ "events": { LOGOUT: {}, disabled.clone(): {} } })),
            400,
            "event_malformed",
        ),
        ("no event", logout(none(), json!({ "events": {} })), 400, "event_malformed"),
        (
            "an event that is no object",
            logout(none(), json!({ "events": { LOGOUT: true } })),
            400,
            "event_malformed",
        ),
        ("neither sub nor sid", logout(none(), json!({ "sub": null })), 400, "event_malformed"),
        (
            "an unknown type",
            Push::security_event(&security_event("https://x.example/e", &user(sub))),
            202,
            "",
        ),
        (
            "two tokens",
            Push { body: format!("logout_token={good}&logout_token={good}"), ..Push::logout("") },
            400,
            "event_malformed",
        ),
        ("a JWE", Push::logout("e30.e30.e30.e30.e30"), 400, "token_malformed"),
        ("garbage", Push::security_event("\u{0}\u{1}garbage"), 400, "token_malformed"),
        ("nothing", Push::security_event(""), 400, "token_malformed"),
        ("no bearer", Push { bearer: None, ..Push::global("x", &user(sub)) }, 401, "token_missing"),
        (
            "another media type",
            Push { media_type: "text/plain", ..Push::logout(&good) },
            400,
            "event_malformed",
        ),
        ("too much", Push { body: padding, ..Push::logout("") }, 413, "body_too_large"),
    ]
}

/// Pushes an event of each issuer, so that the edge has fetched their keys. Returns one of them,
/// which is a replay from now on.
pub async fn take_effect(scene: &Scene) -> Push {
    let seen = Push::logout(&logout(json!({ "sub": "carol" })));
    assert_eq!(scene.push(&seen).await.0, 200);
    let other = event_claims(json!({ "iss": OTHER_ISSUER, "sub": "x", "events": { LOGOUT: {} } }));
    let other = OTHER.sign(&event_header("logout+jwt", json!({})), &other);
    assert_eq!(scene.push(&Push::logout(&other)).await.0, 200);
    seen
}

#[tokio::test]
async fn hostile_events_leave_the_store_untouched() {
    let scene = Scene::start(Vec::new()).await;
    let alice = access("alice", "s");
    let seen = take_effect(&scene).await;
    assert_eq!(scene.api(&alice).await, 200);

    let (held, table, commands) = (scene.held(), hostile(&seen), scene.commands());
    for (name, event, status, code) in &table {
        let (got, body) = scene.push(event).await;
        let got_code = body["code"].as_str().unwrap_or_default();
        assert_eq!((got, got_code), (*status, *code), "{name}: {body}");
        let own = match event.media_type {
            "application/secevent+jwt" => "err",
            "application/x-www-form-urlencoded" => "error",
            _ => "title",
        };
        if *status == 400 {
            assert!(body[own].is_string(), "{name}: {body}");
        }
    }
    for method in ["GET", "PUT", "OPTIONS"] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = client().request(method, scene.edge.edge("/events"));
        let request = request.header("origin", "https://app.example");
        let request = request.header("access-control-request-method", "POST");
        assert_eq!(request.send().await.unwrap().status(), 405);
    }
    assert_eq!(scene.commands(), commands, "a hostile event reached the store");
    assert_eq!(scene.held(), held);
    assert_eq!(scene.api(&alice).await, 200);
    stop(scene.edge).await;
}
