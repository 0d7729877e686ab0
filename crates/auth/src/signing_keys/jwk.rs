//! Generates key pairs, and formats their public keys as JWKs.

use super::algorithm::KeyAlgorithm;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use serde_json::Value;

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
    let public = match algorithm {
        KeyAlgorithm::EdDsa => {
            let pair = Ed25519KeyPair::from_pkcs8(&der).ok()?;
            DecodingKey::from_ed_der(pair.public_key().as_ref())
        }
        KeyAlgorithm::Es256 => {
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).ok()?;
            DecodingKey::from_ec_der(pair.public_key().as_ref())
        }
    };
    let mut jwk = Jwk::from_decoding_key(&public, Some(algorithm.jws())).ok()?;
    jwk.common.key_id = Some(jwk.thumbprint(ThumbprintHash::SHA256).ok()?);
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    serde_json::to_value(jwk).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    /// The example of RFC 8037 appendix A.
    #[test]
    fn public_jwk_is_the_one_of_rfc_8037() {
        let seed = URL_SAFE_NO_PAD.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
        let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let pkcs8 = URL_SAFE_NO_PAD.encode([&prefix[..], &seed].concat());
        let jwk = public_jwk(KeyAlgorithm::EdDsa, &pkcs8).unwrap();
        let expected = serde_json::json!({
            "alg": "EdDSA", "crv": "Ed25519", "kty": "OKP", "use": "sig",
            "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        });
        assert_eq!(jwk, expected);
    }

    #[test]
    fn public_jwk_of_p256_has_both_coordinates_and_its_thumbprint() {
        let pkcs8 = generate_pkcs8(KeyAlgorithm::Es256).unwrap();
        let jwk = public_jwk(KeyAlgorithm::Es256, &pkcs8).unwrap();
        let member = |name: &str| jwk[name].as_str().unwrap();
        let (x, y) = (member("x"), member("y"));
        let required = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        assert_eq!(member("kid"), URL_SAFE_NO_PAD.encode(Sha256::digest(required)));
        assert_eq!((member("kty"), member("crv")), ("EC", "P-256"));
        assert_eq!((member("alg"), member("use")), ("ES256", "sig"));
        assert_eq!([x, y].map(|text| URL_SAFE_NO_PAD.decode(text).unwrap().len()), [32, 32]);
        assert_eq!(jwk.as_object().unwrap().len(), 7);
    }
}
