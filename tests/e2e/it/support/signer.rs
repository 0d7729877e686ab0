//! A key for each signature algorithm.

use super::issuer::{claims, header};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The issuer of tokens that are signed with a private key.
pub const SIGNING_ISSUER: &str = "https://all.example";
/// The issuer of tokens that are signed with a shared secret.
pub const SECRET_ISSUER: &str = "https://secret.example";

/// A private key, or a shared secret.
#[allow(clippy::large_enum_variant, reason = "there are thirteen")]
pub enum Key {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Hmac(hmac::Key, Vec<u8>),
    Rsa(RsaKeyPair, &'static dyn signature::RsaEncoding),
}

/// A key that signs with one algorithm.
pub struct Signer {
    pub algorithm: &'static str,
    pub key: Key,
}

impl Signer {
    /// Generates a key for each algorithm.
    pub fn all() -> Vec<Self> {
        let ecdsa = |algorithm| Key::Ecdsa(EcdsaKeyPair::generate(algorithm).unwrap());
        let rsa = |encoding| Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap(), encoding);
        let secret = |algorithm, bytes| {
            let mut secret = vec![0; bytes];
            rand::fill(&mut secret).unwrap();
            Key::Hmac(hmac::Key::new(algorithm, &secret), secret)
        };
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let ed25519 = Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).unwrap();
        [
            ("EdDSA", Key::Ed25519(ed25519)),
            ("ES256", ecdsa(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)),
            ("ES384", ecdsa(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)),
            ("ES512", ecdsa(&signature::ECDSA_P521_SHA512_FIXED_SIGNING)),
            ("HS256", secret(hmac::HMAC_SHA256, 32)),
            ("HS384", secret(hmac::HMAC_SHA384, 48)),
            ("HS512", secret(hmac::HMAC_SHA512, 64)),
            ("PS256", rsa(&signature::RSA_PSS_SHA256)),
            ("PS384", rsa(&signature::RSA_PSS_SHA384)),
            ("PS512", rsa(&signature::RSA_PSS_SHA512)),
            ("RS256", rsa(&signature::RSA_PKCS1_SHA256)),
            ("RS384", rsa(&signature::RSA_PKCS1_SHA384)),
            ("RS512", rsa(&signature::RSA_PKCS1_SHA512)),
        ]
        .map(|(algorithm, key)| Self { algorithm, key })
        .into_iter()
        .collect()
    }

    /// Returns the issuer of the key: shared secrets have a separate one.
    pub fn issuer(&self) -> &'static str {
        if matches!(self.key, Key::Hmac(..)) { SECRET_ISSUER } else { SIGNING_ISSUER }
    }

    /// Returns the public key, or the secret, as a JWK that is named after its algorithm.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut jwk = match &self.key {
            Key::Ecdsa(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let crv = match x.len() {
                    32 => "P-256",
                    48 => "P-384",
                    _ => "P-521",
                };
                json!({ "kty": "EC", "crv": crv, "x": text(x), "y": text(y) })
            }
            Key::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": text(pair.public_key().as_ref()) })
            }
            Key::Hmac(_, secret) => json!({ "kty": "oct", "k": text(secret) }),
            Key::Rsa(pair, _) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({ "kty": "RSA", "n": text(&public.n), "e": text(&public.e) })
            }
        };
        jwk["alg"] = self.algorithm.into();
        jwk["kid"] = self.algorithm.into();
        jwk
    }

    /// Signs bytes.
    pub fn sign(&self, input: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Ecdsa(pair) => pair.sign(&random, input).unwrap().as_ref().to_vec(),
            Key::Ed25519(pair) => pair.sign(input).as_ref().to_vec(),
            Key::Hmac(key, _) => hmac::sign(key, input).as_ref().to_vec(),
            Key::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*encoding, &random, input, &mut signature).unwrap();
                signature
            }
        }
    }

    /// Makes a token whose header claims `alg` and `kid`. This key signs it, whatever they are.
    pub fn token(&self, alg: &str, kid: &str, issuer: &str) -> String {
        let header = header(json!({ "alg": alg, "kid": kid }));
        let claims = claims(json!({ "iss": issuer }));
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(&header), encode(&claims));
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(self.sign(input.as_bytes())))
    }
}
