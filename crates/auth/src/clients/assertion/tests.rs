//! Hostile assertions.

use super::*;
use crate::clients::jwks::check_jwks;
use crate::clients::{AuthMethod, OAuthClient};
use crate::custom_claims::CustomClaims;
use crate::signing_keys::{KeyAlgorithm, generate_pkcs8, public_jwk};
use jsonwebtoken::EncodingKey;
use serde_json::json;

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
const ISSUER: &str = "https://a.example";
const ENDPOINT: &str = "https://a.example/oauth/token";

struct Signer {
    algorithm: jsonwebtoken::Algorithm,
    key: EncodingKey,
    jwk: Value,
}

impl Signer {
    fn new(algorithm: KeyAlgorithm) -> Self {
        let pkcs8 = generate_pkcs8(algorithm).unwrap();
        let jwk = public_jwk(algorithm, &pkcs8).unwrap();
        let der = URL_SAFE_NO_PAD.decode(&pkcs8).unwrap();
        let (key, algorithm) = match algorithm {
            KeyAlgorithm::EdDsa => (EncodingKey::from_ed_der(&der), jsonwebtoken::Algorithm::EdDSA),
            KeyAlgorithm::Es256 => (EncodingKey::from_ec_der(&der), jsonwebtoken::Algorithm::ES256),
        };
        Self { algorithm, key, jwk }
    }

    fn header(&self) -> Value {
        let alg = if self.algorithm == jsonwebtoken::Algorithm::EdDSA { "EdDSA" } else { "ES256" };
        json!({ "alg": alg, "kid": self.jwk["kid"] })
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let input = format!("{}.{}", part(header), part(claims));
        let signature =
            jsonwebtoken::crypto::sign(input.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{input}.{signature}")
    }
}

fn client(keys: &Value) -> OAuthClient {
    OAuthClient {
        id: "client".into(),
        name: "n".into(),
        scope: String::new(),
        token_seconds: None,
        plan: None,
        claims: CustomClaims::default(),
        auth_method: AuthMethod::PrivateKeyJwt,
        jwks: Some(check_jwks(json!({ "keys": keys }).as_object().unwrap()).unwrap()),
        created_at: 0,
        disabled_at: None,
        tokens_revoked_at: None,
    }
}

fn claims() -> Value {
    json!({ "iss": "client", "sub": "client", "aud": ISSUER, "jti": "1",
        "exp": NOW.0 + 60, "iat": NOW.0, "nbf": NOW.0 })
}

fn verify(text: &str, client: &OAuthClient) -> Result<UsedAssertion, AssertionError> {
    let audiences = [ISSUER.to_owned(), ENDPOINT.to_owned()];
    Assertion::parse(text)?.verify(client, &audiences, NOW)
}

#[test]
fn assertion_of_each_algorithm_is_accepted_and_has_one_hash_for_each_jti() {
    for algorithm in [KeyAlgorithm::EdDsa, KeyAlgorithm::Es256] {
        let signer = Signer::new(algorithm);
        let client = client(&json!([signer.jwk]));
        let sign = |header: &Value, claims: &Value| {
            verify(&signer.sign(&header.to_string(), &claims.to_string()), &client)
        };
        let used = sign(&signer.header(), &claims()).unwrap();
        assert_eq!(used.expires_at, NOW.0 + 90);
        let mut later = claims();
        later["exp"] = (NOW.0 + 61).into();
        assert_eq!(sign(&signer.header(), &later).unwrap().hash, used.hash);
        later["jti"] = "2".into();
        assert_ne!(sign(&signer.header(), &later).unwrap().hash, used.hash);
        // The endpoint, a list of own names, and the members that may be missing.
        for aud in [json!(ENDPOINT), json!([ISSUER]), json!([ISSUER, ENDPOINT])] {
            let mut own = claims();
            own["aud"] = aud;
            own["exp"] = (NOW.0 + 330).into();
            own.as_object_mut().unwrap().retain(|name, _| name != "iat" && name != "nbf");
            let mut header = signer.header();
            header.as_object_mut().unwrap().remove("kid");
            header["typ"] = "jwt".into();
            if algorithm == KeyAlgorithm::EdDsa {
                header["alg"] = "Ed25519".into();
            }
            assert!(sign(&header, &own).is_ok());
        }
    }
}

#[test]
fn hostile_assertions_are_refused() {
    let signer = Signer::new(KeyAlgorithm::EdDsa);
    let (other, es256) = (Signer::new(KeyAlgorithm::EdDsa), Signer::new(KeyAlgorithm::Es256));
    let client = client(&json!([signer.jwk, es256.jwk]));
    let header = signer.header();
    let of_claims = |change: &Value| {
        let mut own = claims();
        for (name, value) in change.as_object().unwrap() {
            match value {
                Value::Null => drop(own.as_object_mut().unwrap().remove(name)),
                value => own[name] = value.clone(),
            }
        }
        signer.sign(&header.to_string(), &own.to_string())
    };
    let of_header = |change: &Value| {
        let mut own = header.clone();
        own.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        signer.sign(&own.to_string(), &claims().to_string())
    };
    let good = of_claims(&json!({}));
    assert!(verify(&good, &client).is_ok());
    let (head, rest) = good.split_once('.').unwrap();
    let (body, signature) = rest.split_once('.').unwrap();
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let unsigned = part(r#"{"alg":"none"}"#);
    let twice = claims().to_string().replacen('{', r#"{"iss":"client","#, 1);
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(64), "]".repeat(64));
    use AssertionError as E;
    let table = [
        (String::new(), E::Malformed),
        ("..".into(), E::Malformed),
        (format!("{head}.{body}"), E::Malformed),
        (format!("{head}.{body}."), E::Malformed),
        (format!("{good}.x"), E::Malformed),
        (format!("{unsigned}.{body}.{signature}"), E::Malformed),
        (format!("{unsigned}.{body}."), E::Malformed),
        (format!(" {good}"), E::Malformed),
        (format!("{head}=.{body}.{signature}"), E::Malformed),
        ("a".repeat(8193), E::Malformed),
        (signer.sign(&header.to_string(), "[]"), E::Malformed),
        (signer.sign(&header.to_string(), &twice), E::Malformed),
        (signer.sign(&header.to_string(), &deep), E::Malformed),
        (of_header(&json!({ "crit": ["exp"] })), E::Malformed),
        (of_header(&json!({ "jwk": signer.jwk })), E::Malformed),
        (of_header(&json!({ "jku": "https://x.example" })), E::Malformed),
        (of_header(&json!({ "b64": false })), E::Malformed),
        (of_header(&json!({ "kid": 1 })), E::Malformed),
        (of_header(&json!({ "typ": "at+jwt" })), E::Type),
        (of_header(&json!({ "typ": "dpop+jwt" })), E::Type),
        // The key decides the algorithm.
        (of_header(&json!({ "alg": "ES256" })), E::Signature),
        (of_header(&json!({ "alg": "HS256" })), E::Signature),
        (of_header(&json!({ "kid": "unknown" })), E::Signature),
        (of_header(&json!({ "kid": es256.jwk["kid"] })), E::Signature),
        (other.sign(&header.to_string(), &claims().to_string()), E::Signature),
        (es256.sign(&header.to_string(), &claims().to_string()), E::Signature),
        (format!("{head}.{body}.{}", part("x")), E::Signature),
        (
            format!("{head}.{}.{signature}", part(&claims().to_string().replace("60", "61"))),
            E::Signature,
        ),
        (of_claims(&json!({ "iss": null })), E::Client),
        (of_claims(&json!({ "sub": null })), E::Client),
        (of_claims(&json!({ "sub": "other" })), E::Client),
        (of_claims(&json!({ "iss": "other", "sub": "other" })), E::Client),
        (of_claims(&json!({ "iss": ["client"] })), E::Client),
        (of_claims(&json!({ "aud": null })), E::Audience),
        (of_claims(&json!({ "aud": [] })), E::Audience),
        (of_claims(&json!({ "aud": "https://a.example/" })), E::Audience),
        (of_claims(&json!({ "aud": "https://b.example" })), E::Audience),
        (of_claims(&json!({ "aud": [ISSUER, "https://b.example"] })), E::Audience),
        (of_claims(&json!({ "aud": [ISSUER, ISSUER, ISSUER, ISSUER, ISSUER] })), E::Audience),
        (of_claims(&json!({ "exp": null })), E::Malformed),
        (of_claims(&json!({ "exp": "1800000060" })), E::Malformed),
        (of_claims(&json!({ "exp": -1 })), E::Malformed),
        (of_claims(&json!({ "exp": 1e300 })), E::Malformed),
        (of_claims(&json!({ "exp": NOW.0 - 30 })), E::Expired),
        (of_claims(&json!({ "exp": NOW.0 + 331 })), E::LifeLong),
        (of_claims(&json!({ "exp": u64::MAX })), E::LifeLong),
        (of_claims(&json!({ "iat": NOW.0 + 31 })), E::NotYetValid),
        (of_claims(&json!({ "iat": NOW.0 - 331 })), E::NotYetValid),
        (of_claims(&json!({ "iat": "now" })), E::Malformed),
        (of_claims(&json!({ "nbf": NOW.0 + 31 })), E::NotYetValid),
        (of_claims(&json!({ "jti": null })), E::Malformed),
        (of_claims(&json!({ "jti": "" })), E::Malformed),
        (of_claims(&json!({ "jti": 1 })), E::Malformed),
        (of_claims(&json!({ "jti": "j".repeat(257) })), E::Malformed),
    ];
    for (place, (text, expected)) in table.into_iter().enumerate() {
        assert_eq!(verify(&text, &client), Err(expected), "{place}: {text}");
    }
    // A client with a secret has no keys.
    let without = OAuthClient { jwks: None, ..client };
    assert_eq!(verify(&good, &without), Err(AssertionError::Signature));
}

/// Two ids and two `jti`s that are the same text when joined.
#[test]
fn hashes_of_two_clients_differ() {
    let signer = Signer::new(KeyAlgorithm::EdDsa);
    let hash = |id: &str, jti: &str| {
        let own = OAuthClient { id: id.into(), ..client(&json!([signer.jwk])) };
        let mut claims = claims();
        claims["iss"] = id.into();
        claims["sub"] = id.into();
        claims["jti"] = jti.into();
        verify(&signer.sign(&signer.header().to_string(), &claims.to_string()), &own).unwrap().hash
    };
    assert_ne!(hash("ab", "c"), hash("a", "bc"));
}
