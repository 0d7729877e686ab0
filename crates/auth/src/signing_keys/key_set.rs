//! Key sets: decrypted signing keys, which sign and verify access tokens.

use super::algorithm::KeyAlgorithm;
use super::jwk::public_jwk;
use crate::db::KeyRow;
use crate::token::AccessClaims;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey, Header, Validation, decode, encode};
use portcullis_core::UnixSeconds;
use serde_json::{Value, json};

/// Decrypted signing keys, by generation.
#[derive(Default)]
pub struct KeySet {
    pub(super) keys: Vec<SigningKey>,
}

/// A decrypted signing key.
pub(super) struct SigningKey {
    generation: u64,
    kid: String,
    algorithm: KeyAlgorithm,
    active_from: u64,
    jwk: Value,
    pub(super) pkcs8: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl SigningKey {
    /// Creates a key from its row and its decrypted key pair. Returns `None` if the pair is
    /// malformed.
    pub(super) fn new(row: &KeyRow, algorithm: KeyAlgorithm, pkcs8: String) -> Option<Self> {
        let jwk = public_jwk(algorithm, &pkcs8)?;
        let der = URL_SAFE_NO_PAD.decode(&pkcs8).ok()?;
        let member = |name: &str| jwk.get(name).and_then(Value::as_str);
        let (encoding, decoding) = match algorithm {
            KeyAlgorithm::EdDsa => (
                EncodingKey::from_ed_der(&der),
                DecodingKey::from_ed_components(member("x")?).ok()?,
            ),
            KeyAlgorithm::Es256 => (
                EncodingKey::from_ec_der(&der),
                DecodingKey::from_ec_components(member("x")?, member("y")?).ok()?,
            ),
        };
        Some(Self {
            generation: row.generation,
            kid: row.kid.clone(),
            algorithm,
            active_from: row.active_from,
            jwk,
            pkcs8,
            encoding,
            decoding,
        })
    }
}

impl KeySet {
    /// Returns the public keys (RFC 7517).
    pub fn jwks(&self) -> Value {
        json!({ "keys": self.keys.iter().map(|key| &key.jwk).collect::<Vec<_>>() })
    }

    /// Signs an access token with the current key. Returns `None` if no key is active.
    pub fn sign(&self, claims: &AccessClaims, now: UnixSeconds) -> Option<String> {
        let active = self.keys.iter().filter(|key| key.active_from <= now.0);
        let key = active.max_by_key(|key| key.generation)?;
        let mut header = Header::new(key.algorithm.jws());
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(key.kid.clone());
        encode(&header, claims, &key.encoding).ok()
    }

    /// Returns the claims of an access token that one of the keys signed. Accepts an expired token,
    /// because its holder may still end the session.
    pub fn verify(&self, token: &str, issuer: &str, audience: &str) -> Option<AccessClaims> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let kid = header.kid?;
        let key = self.keys.iter().find(|key| key.kid == kid)?;
        let mut rules = Validation::new(key.algorithm.jws());
        rules.set_issuer(&[issuer]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.validate_exp = false;
        decode(token, &key.decoding, &rules).ok().map(|data| data.claims)
    }
}
