//! Invalid tokens. Each is rejected with a code that names the reason.

use crate::support::edge::EDGE;
use crate::support::http::{assert_refused, field, get, get_with};
use crate::support::issuer::{AUDIENCE, ISSUER, Issuer, TRUSTED, claims, header, now};
use crate::support::stack::SHARED;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

async fn verdict(token: &str) -> (u16, String, String) {
    let response = get_with(&EDGE.edge("/api/x"), token).await;
    let status = response.status().as_u16();
    let challenge = field(&response, "www-authenticate");
    let body: Value = response.json().await.unwrap();
    (status, body["code"].as_str().unwrap_or_default().to_owned(), challenge)
}

#[tokio::test]
async fn valid_token_is_accepted() {
    for changes in [
        json!({}),
        json!({ "aud": ["other", AUDIENCE] }),
        json!({ "exp": now() + 60, "iat": null, "jti": null, "sid": null, "scope": null }),
        json!({ "exp": now() - 20 }),
        json!({ "exp": now() as f64 + 60.5 }),
    ] {
        let token = TRUSTED.sign(&header(json!({})), &claims(changes.clone()));
        assert_eq!(verdict(&token).await.0, 200, "{changes}");
    }
}

#[tokio::test]
async fn expired_token_is_rejected_with_a_challenge() {
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({ "exp": now() - 31 })));
    let response = get(&EDGE.edge("/api/x")).bearer_auth(&token).send().await.unwrap();
    let challenge = assert_refused(response, 401, "token_expired").await;
    assert_eq!(
        challenge,
        r#"Bearer error="invalid_token", error_description="the token has expired""#
    );
}

#[tokio::test]
async fn invalid_claims_are_rejected_by_code() {
    for (changes, code) in [
        (json!({ "exp": null }), "claim_missing"),
        (json!({ "exp": "9999999999" }), "token_malformed"),
        (json!({ "nbf": now() + 300 }), "token_not_yet_valid"),
        (json!({ "iat": now() + 300 }), "token_not_yet_valid"),
        (json!({ "aud": "https://other.example" }), "audience_mismatch"),
        (json!({ "aud": null }), "claim_missing"),
        (json!({ "iss": "https://issuer.example/" }), "issuer_unknown"),
        (json!({ "iss": null }), "claim_missing"),
        (json!({ "sub": null }), "claim_missing"),
        (json!({ "sub": ["alice"] }), "token_malformed"),
    ] {
        let token = TRUSTED.sign(&header(json!({})), &claims(changes.clone()));
        let (status, got, challenge) = verdict(&token).await;
        assert_eq!((status, got.as_str()), (401, code), "{changes}");
        assert!(challenge.starts_with("Bearer error=\"invalid_token\""), "{challenge}");
    }
}

#[tokio::test]
async fn invalid_jose_headers_are_rejected_by_code() {
    let own_key = json!({ "kty": "OKP", "crv": "Ed25519", "x": TRUSTED.x() });
    for (changes, code) in [
        (json!({ "alg": "none" }), "algorithm_refused"),
        (json!({ "alg": "HS256" }), "algorithm_refused"),
        (json!({ "alg": "ES256" }), "algorithm_refused"),
        (json!({ "alg": null }), "token_malformed"),
        (json!({ "typ": "JWT" }), "token_type_refused"),
        (json!({ "typ": "logout+jwt" }), "token_type_refused"),
        (json!({ "typ": null }), "token_type_refused"),
        (json!({ "kid": "unknown" }), "key_unknown"),
        (json!({ "kid": "../../etc/passwd" }), "key_unknown"),
        (json!({ "jwk": own_key }), "token_malformed"),
        (json!({ "jku": "http://127.0.0.1:1/jwks" }), "token_malformed"),
        (json!({ "x5u": "http://127.0.0.1:1/cert" }), "token_malformed"),
        (json!({ "crit": ["exp"] }), "token_malformed"),
        (json!({ "b64": false }), "token_malformed"),
    ] {
        let token = TRUSTED.sign(&header(changes.clone()), &claims(json!({})));
        let (status, got, _) = verdict(&token).await;
        assert_eq!((status, got.as_str()), (401, code), "{changes}");
    }
}

#[tokio::test]
async fn invalid_signatures_are_rejected_by_code() {
    let other_claims = claims(json!({ "sub": "mallory" }));
    let (header, claims) = (header(json!({})), claims(json!({})));
    let good = TRUSTED.sign(&header, &claims);
    assert_eq!(verdict(&good).await.0, 200);
    let (input, signature) = good.rsplit_once('.').unwrap();
    let foreign = Issuer::new().sign(&header, &claims);

    let payload = URL_SAFE_NO_PAD.encode(other_claims.to_string());
    let swapped = format!("{}.{payload}.{signature}", input.split_once('.').unwrap().0);
    for (token, code) in [
        (foreign, "signature_invalid"),
        (swapped, "signature_invalid"),
        (format!("{input}."), "signature_invalid"),
        (format!("{input}.{}", URL_SAFE_NO_PAD.encode([0; 64])), "signature_invalid"),
        (format!("{input}.{}", &signature[..40]), "signature_invalid"),
        (format!("{good}A"), "signature_invalid"),
        (format!("{good}="), "token_malformed"),
        (input.to_owned(), "token_malformed"),
        (format!("{good}.x"), "token_malformed"),
    ] {
        let (status, got, _) = verdict(&token).await;
        assert_eq!((status, got.as_str()), (401, code), "{token}");
    }
    assert_eq!(verdict(&good).await.0, 200, "{ISSUER}");
}

#[tokio::test]
async fn token_of_another_issuer_is_rejected() {
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({})));
    assert_refused(get_with(&SHARED.edge("/api/hello"), &token).await, 401, "issuer_unknown").await;
}
