use super::*;
use crate::config::fixtures::policy_with;
use crate::request::head::RequestHead;
use crate::store::keys::StoreKeys;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn refresh(body: &str) -> Refresh {
    let fields = vec![("content-type", "application/json")];
    let head = RequestHead::new("POST", "https://a.example/oauth/token", fields);
    Refresh::read(&head, body, &StoreKeys::new("pc")).unwrap()
}

fn response(body: &str) -> CapturedResponse {
    CapturedResponse { fields: Vec::new(), body: body.into() }
}

#[test]
fn response_is_not_replayed_after_a_revocation() {
    let policy = policy_with(&[(
        "issuers",
        r#"[{"issuer":"https://issuer.example","audience":"api","algorithms":["EdDSA"],
             "jwks_url":"https://issuer.example/jwks"},
            {"issuer":"https://issuer.example","audience":"api","introspection":{
             "url":"https://issuer.example/i","client_id":"c","client_secret_variable":"STORE_TOKEN",
             "revocations_in_store":true,"token_prefix":"pca_"},"sessions_in_store":true},
            {"issuer":"https://other.example","audience":"api","introspection":{
             "url":"https://issuer.example/i","client_id":"c","client_secret_variable":"STORE_TOKEN",
             "revocations_in_store":true,"token_prefix":"other_"}}]"#,
    )]);
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let claims = r#"{"iss":"https://issuer.example","aud":"api","sub":"u","sid":"s","exp":1800000900,"iat":1800000000}"#;
    let jwt =
        format!("{}.{}.AAAA", part(r#"{"alg":"EdDSA","kid":"k","typ":"at+jwt"}"#), part(claims));
    let of = |token: &str| response(&json!({ "access_token": token }).to_string());
    let is_valid =
        |answer: &CapturedResponse, replies: &[Reply]| answer.is_still_valid(&policy, NOW, replies);
    let nothing = || Reply::Array(vec![Reply::Null; 3]);

    let own = refresh(r#"{"refresh_token":"x"}"#);
    let revocation_queries =
        |answer: &CapturedResponse| answer.revocation_queries(&own, "f", &policy, NOW);
    let family = || Reply::Array(vec![Reply::Null, Reply::Null]);
    let signed = of(&jwt);
    let queries = revocation_queries(&signed);
    assert_eq!(
        (queries[0].name(), queries[1].name(), queries[1].words().len()),
        ("MGET", "MGET", 4)
    );
    let revoked = |hash: &str| format!("pc:refresh_revoked:{hash}").into_bytes();
    assert_eq!(queries[0].words()[1..], [revoked("f"), revoked(&own.hash)]);
    assert_eq!(is_valid(&signed, &[family(), nothing()]), Some(true));
    let marked = || Reply::Array(vec![Reply::Null, Reply::text("1"), Reply::Null]);
    assert_eq!(is_valid(&signed, &[family(), marked()]), Some(false));
    assert_eq!(is_valid(&signed, &[marked(), nothing()]), Some(false));
    for inconclusive in [
        vec![],
        vec![family()],
        vec![family(), Reply::Error("x".into())],
        vec![Reply::Error("x".into()), nothing()],
    ] {
        assert_eq!(is_valid(&signed, &inconclusive), None, "{inconclusive:?}");
    }

    let recorded = of("pca_x");
    assert_eq!(revocation_queries(&recorded)[1].name(), "GET");
    assert_eq!(is_valid(&recorded, &[family(), Reply::text("record")]), Some(true));
    assert_eq!(is_valid(&recorded, &[family(), Reply::Null]), Some(false));
    assert_eq!(is_valid(&recorded, &[family(), Reply::Error("x".into())]), None);

    // For tokens of other issuers, the store has only the family.
    for other in [of("abc"), of("other_x"), response("{}"), response("no JSON")] {
        assert_eq!(revocation_queries(&other).len(), 1);
        assert_eq!(is_valid(&other, &[family()]), Some(true));
        assert_eq!(is_valid(&other, &[marked()]), Some(false));
    }
}

/// An access token for a resource has markers, as one for its issuer's own audience has.
#[test]
fn response_with_a_token_for_a_resource_is_not_replayed_after_a_revocation() {
    let policy = policy_with(&[
        ("resources", r#"[{"name":"files","url":"https://files.example"}]"#),
        ("routes", r#"[{"name":"f","path":"/f","access":"protected","resource":"files"}]"#),
    ]);
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let queries = |aud: &str| {
        let claims = json!({ "iss": "https://issuer.example", "aud": aud, "sub": "u",
            "exp": NOW.0 + 900 });
        let header = part(r#"{"alg":"EdDSA","kid":"k","typ":"at+jwt"}"#);
        let jwt = format!("{header}.{}.AAAA", part(&claims.to_string()));
        let body = json!({ "access_token": jwt }).to_string();
        let own = refresh(r#"{"refresh_token":"x"}"#);
        response(&body).revocation_queries(&own, "f", &policy, NOW).len()
    };
    assert_eq!((queries("https://files.example"), queries("api")), (2, 2));
    assert_eq!(queries("https://foreign.example"), 1);
}
