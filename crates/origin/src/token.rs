//! Tokens: access tokens signed as RFC 9068 has them, refresh tokens of 256 random bits.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The key that signs access tokens.
pub struct SigningKey {
    kid: String,
    jwk: Value,
    encoding: EncodingKey,
    decoding: DecodingKey,
}

/// The claims of an access token (RFC 9068 section 2.2).
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AccessClaims {
    pub iss: String,
    pub sub: String,
    pub aud: String,
    pub exp: u64,
    pub iat: u64,
    pub jti: String,
    pub sid: String,
    pub client_id: String,
    pub scope: String,
}

impl SigningKey {
    /// The key in `file`, which is made, readable by its owner alone, if it is not there.
    pub fn load(file: &Path) -> io::Result<Self> {
        let pem = match fs::read_to_string(file) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(file)?,
            Err(error) => return Err(named(file, &error.to_string())),
        };
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = STANDARD.decode(body.trim()).map_err(|_| named(file, "is not PEM"))?;
        Self::from_pkcs8(&der).ok_or_else(|| named(file, "is not an Ed25519 key in PKCS#8"))
    }

    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(der).ok()?;
        let public = pair.public_key().as_ref();
        let x = URL_SAFE_NO_PAD.encode(public);
        // RFC 7638: the thumbprint of the required members, in this order and without spaces.
        let thumbprint = Sha256::digest(format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#));
        let kid = URL_SAFE_NO_PAD.encode(thumbprint);
        let jwk = json!({
            "kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "EdDSA", "use": "sig",
        });
        let decoding = DecodingKey::from_ed_components(&x).ok()?;
        Some(Self { kid, jwk, encoding: EncodingKey::from_ed_der(der), decoding })
    }

    /// The key set that verifies what this key signs (RFC 7517).
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk] })
    }

    /// A signed access token.
    pub fn sign(&self, claims: &AccessClaims) -> Result<String, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        encode(&header, claims, &self.encoding)
    }

    /// The claims of an access token that this key signed, also of one that has expired: whoever holds
    /// it may end its session.
    pub fn verify(&self, token: &str, issuer: &str, audience: &str) -> Option<AccessClaims> {
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[issuer]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        rules.validate_exp = false;
        decode(token, &self.decoding, &rules).ok().map(|data| data.claims)
    }
}

fn create(file: &Path) -> io::Result<String> {
    let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| io::Error::other("the system's source of randomness fails"))?;
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der)
    );
    // Written whole beside it first: a crash leaves no half of a key behind.
    let draft = file.with_extension("new");
    let write = || {
        let mut handle =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        handle.write_all(pem.as_bytes())?;
        handle.sync_all()?;
        fs::rename(&draft, file)
    };
    write().map_err(|error| named(file, &format!("can't be made: {error}")))?;
    tracing::info!(event = "signing_key_made", file = %file.display());
    Ok(pem)
}

fn named(file: &Path, fault: &str) -> io::Error {
    io::Error::other(format!("SIGNING_KEY_FILE {}: {fault}", file.display()))
}

/// 256 random bits as base64url: a refresh token.
pub fn random_secret() -> String {
    let mut bytes = [0; 32];
    fill_random(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// 128 random bits as base64url: a name that nobody else will have.
pub fn random_name() -> String {
    let mut bytes = [0; 16];
    fill_random(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Fills `bytes` from the system's source. A service that can't draw randomness must not go on.
pub fn fill_random(bytes: &mut [u8]) {
    if aws_lc_rs::rand::fill(bytes).is_err() {
        tracing::error!(event = "stopped", error = "the system's source of randomness fails");
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> AccessClaims {
        AccessClaims {
            iss: "https://a.example".into(),
            sub: "u".into(),
            aud: "api".into(),
            exp: 1,
            iat: 0,
            jti: "j".into(),
            sid: "s".into(),
            client_id: "c".into(),
            scope: "a b".into(),
        }
    }

    #[test]
    fn a_key_survives_its_file() {
        let folder = std::env::temp_dir().join(format!("portcullis-{}", random_name()));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("key.pem");
        let made = SigningKey::load(&file).unwrap();
        let read = SigningKey::load(&file).unwrap();
        assert_eq!(made.jwks(), read.jwks());
        let token = made.sign(&claims()).unwrap();
        assert!(read.verify(&token, "https://a.example", "api").is_some());
        assert!(read.verify(&token, "https://b.example", "api").is_none());
        assert!(read.verify(&token, "https://a.example", "other").is_none());
        assert!(read.verify(&format!("{token}A"), "https://a.example", "api").is_none());
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "garbage").unwrap();
        assert!(SigningKey::load(&file).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_path_that_is_a_folder_is_a_clear_error() {
        let error = SigningKey::load(&std::env::temp_dir()).err().unwrap().to_string();
        assert!(error.starts_with("SIGNING_KEY_FILE"), "{error}");
    }

    #[test]
    fn secrets_have_256_bits() {
        assert_eq!(random_secret().len(), 43);
        assert_ne!(random_secret(), random_secret());
    }
}
