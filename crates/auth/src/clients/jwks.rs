//! The public keys of clients (RFC 7517).

use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::Jwk;
use portcullis_core::{Algorithm, Jwks, KeySource, UnverifiedHeader, VerifyingKey, json_object};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The algorithms by which clients may sign assertions.
const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Ps256, Algorithm::Rs256];

/// The names of these algorithms, in headers and metadata.
pub const ALGORITHM_NAMES: [&str; 5] = ["EdDSA", ED25519, "ES256", "PS256", "RS256"];

/// Returns the members of a header or a key with `EdDSA` as `alg` where it is `Ed25519`, its name
/// in RFC 9864.
pub(super) fn with_general_name(members: &Map<String, Value>) -> Map<String, Value> {
    let mut members = members.clone();
    if let Some(alg) = members.get_mut("alg").filter(|alg| *alg == ED25519) {
        *alg = Algorithm::EdDsa.name().into();
    }
    members
}

/// Checks a client's key set, and returns it as it is stored.
///
/// # Errors
///
/// What is wrong with it, and how it should be.
pub fn check_jwks(set: &Map<String, Value>) -> Result<String, &'static str> {
    let text = serde_json::to_string(set).map_err(|_| MALFORMED)?;
    if text.len() > BYTES_MAX {
        return Err(MALFORMED);
    }
    let raw = set.get("keys").and_then(Value::as_array).ok_or(MALFORMED)?;
    let has_private = |key: &Value| PRIVATE.iter().any(|name| key.get(name).is_some());
    if raw.iter().any(has_private) {
        return Err(
            "jwks has a private or secret key; give public keys only, and replace that one",
        );
    }
    let (jwks, faults) = read(&text).ok_or(MALFORMED)?;
    let keys = jwks.keys();
    let ids: BTreeSet<&Option<String>> = keys.iter().map(|key| &key.kid).collect();
    let usable = faults == 0
        && (1..=KEYS_MAX).contains(&keys.len())
        && ids.len() == keys.len()
        && keys.iter().all(|key| key.issuer.is_none() && decoding_key(key).is_some())
        && keys.iter().flat_map(|key| &key.kid).all(|kid| (1..=256).contains(&kid.len()));
    if usable { Ok(text) } else { Err(MALFORMED) }
}

/// Returns the key of a stored set that a header names, and its algorithm.
pub(super) fn select(
    set: &str,
    header: &UnverifiedHeader,
) -> Option<(DecodingKey, jsonwebtoken::Algorithm)> {
    let (jwks, _) = read(set)?;
    let key = jwks.keys().get(jwks.select(header).ok()?)?;
    let algorithm = match key.algorithm {
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        _ => return None,
    };
    Some((decoding_key(key)?, algorithm))
}

/// Reads a set; also returns how many of its keys are unusable.
fn read(set: &str) -> Option<(Jwks, usize)> {
    // A strict reader: no member twice.
    let mut set = json_object(set.as_bytes())?;
    for key in set.get_mut("keys")?.as_array_mut()? {
        *key = with_general_name(key.as_object()?).into();
    }
    let set = serde_json::to_string(&set).ok()?;
    let (jwks, faults) = Jwks::parse(&set, &ALGORITHMS, KeySource::Published).ok()?;
    Some((jwks, faults.len()))
}

fn decoding_key(key: &VerifyingKey) -> Option<DecodingKey> {
    let jwk: Jwk = serde_json::from_str(&key.jwk).ok()?;
    DecodingKey::from_jwk(&jwk).ok()
}

const ED25519: &str = "Ed25519";
/// The members of private and secret keys (RFC 7518 section 6).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
const MALFORMED: &str = "jwks must be a set of 1 to 8 public keys of Ed25519, P-256 or RSA (2048 \
     to 8192 bits), at most 8192 bytes, each with its own kid; an RSA key needs alg, RS256 or PS256";
const KEYS_MAX: usize = 8;
const BYTES_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn check(keys: &Value) -> Result<String, &'static str> {
        check_jwks(json!({ "keys": keys }).as_object().unwrap())
    }

    fn ed(kid: &str) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "x": X, "kid": kid })
    }

    #[test]
    fn public_keys_with_their_own_ids_are_accepted() {
        assert!(check(&json!([ed("a")])).is_ok());
        assert!(check(&json!([{ "kty": "OKP", "crv": "Ed25519", "x": X }])).is_ok());
        for alg in ["EdDSA", "Ed25519"] {
            let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": X, "alg": alg });
            assert!(check(&json!([key])).is_ok(), "{alg}");
        }
        let eight: Vec<Value> = (0..8).map(|number| ed(&number.to_string())).collect();
        assert!(check(&json!(eight)).is_ok());
    }

    #[test]
    fn other_sets_are_refused() {
        let n = "A".repeat(340);
        let mut private = ed("a");
        private["d"] = "x".into();
        let mut other = ed("a");
        other["use"] = "enc".into();
        let mut foreign = ed("a");
        foreign["issuer"] = "https://x.example".into();
        let nine: Vec<Value> = (0..9).map(|number| ed(&number.to_string())).collect();
        for (keys, why) in [
            (json!([]), "empty"),
            (json!({}), "not an array"),
            (json!([1]), "not an object"),
            (json!(nine), "too many"),
            (json!([ed("a"), ed("a")]), "an id twice"),
            (json!([ed("")]), "an empty id"),
            (json!([ed(&"k".repeat(257))]), "a long id"),
            (json!([private]), "private"),
            (json!([other]), "another use"),
            (json!([foreign]), "another issuer's"),
            (json!([{ "kty": "oct", "k": "AAAA", "alg": "HS256" }]), "a secret"),
            (json!([{ "kty": "RSA", "n": n, "e": "AQAB" }]), "RSA without alg"),
            (json!([{ "kty": "OKP", "crv": "Ed25519", "x": "AAAA" }]), "short"),
            (json!([{ "kty": "EC", "crv": "P-384", "x": X, "y": X }]), "another curve"),
            (json!([{ "kty": "OKP", "crv": "Ed25519", "x": X, "alg": "ES256" }]), "another alg"),
            (json!([ed(&"k".repeat(200)), { "pad": "x".repeat(8192) }]), "too long"),
        ] {
            assert!(check(&keys).is_err(), "{why}");
        }
        assert!(check_jwks(&Map::new()).is_err());
    }
}
