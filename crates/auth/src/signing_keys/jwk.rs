//! The generation of key pairs, and their public keys as JWKs.

use super::algorithm::KeyAlgorithm;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// Generates a key pair, as PKCS #8 in base64url. Returns `None` if the system has no randomness.
pub fn generate_pkcs8(algorithm: KeyAlgorithm) -> Option<String> {
    let random = SystemRandom::new();
    let document = match algorithm {
        KeyAlgorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
        KeyAlgorithm::Es256 => {
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        }
    };
    Some(URL_SAFE_NO_PAD.encode(document.ok()?))
}

/// Returns the public key of a key pair, with its thumbprint (RFC 7638) as `kid`. Returns `None` if
/// `pkcs8` is malformed.
pub fn public_jwk(algorithm: KeyAlgorithm, pkcs8: &str) -> Option<Value> {
    let der = URL_SAFE_NO_PAD.decode(pkcs8).ok()?;
    // The thumbprint is the hash of the required members, in this order and without spaces.
    let (mut jwk, required) = match algorithm {
        KeyAlgorithm::EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8(&der).ok()?;
            let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
            let required = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
            (json!({ "kty": "OKP", "crv": "Ed25519", "x": x }), required)
        }
        KeyAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).ok()?;
            // An uncompressed point: the byte 4, and the two coordinates.
            let (x, y) = pair.public_key().as_ref().get(1..)?.split_at_checked(32)?;
            let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
            let required = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
            (json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y }), required)
        }
    };
    let object = jwk.as_object_mut()?;
    let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(required));
    object.insert("kid".to_owned(), kid.into());
    object.insert("alg".to_owned(), algorithm.name().into());
    object.insert("use".to_owned(), "sig".into());
    Some(jwk)
}
