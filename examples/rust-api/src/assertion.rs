//! Checks assertions: the JWTs in which a gate states who calls.

use jsonwebtoken::jwk::{Jwk, JwkSet, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use std::fmt;

/// Checks the assertions of one gate for one audience.
pub struct Checker {
    keys: JwkSet,
    issuer: String,
    audience: String,
}

/// The caller of a request, as the gate states it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Caller {
    /// `sub` of the caller's token.
    pub sub: Option<String>,
    /// `iss` of that token: whose subject it is.
    pub sub_iss: String,
    /// Its scopes, separated by spaces.
    #[serde(default)]
    pub scope: String,
    pub sid: Option<String>,
    pub client_id: Option<String>,
    /// The id of the request.
    pub jti: String,
}

/// Why an assertion is rejected.
#[derive(Debug)]
pub enum Invalid {
    /// It is a JWT of another kind.
    Type,
    /// It names no key of the gate that signs assertions.
    Key,
    /// It is malformed or expired, is for another audience, or its signature is wrong.
    Token(jsonwebtoken::errors::Error),
}

impl fmt::Display for Invalid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type => out.write_str("a JWT of another type"),
            Self::Key => out.write_str("no key of the gate"),
            Self::Token(error) => error.fmt(out),
        }
    }
}

impl From<jsonwebtoken::errors::Error> for Invalid {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        Self::Token(error)
    }
}

impl Checker {
    /// Creates a checker from the key set that the gate publishes, and from `assertion.issuer` and
    /// the audience of its policy.
    pub fn new(jwks: &str, issuer: &str, audience: &str) -> Result<Self, serde_json::Error> {
        let keys = serde_json::from_str(jwks)?;
        Ok(Self { keys, issuer: issuer.to_owned(), audience: audience.to_owned() })
    }

    /// Returns the caller that a valid assertion states.
    pub fn check(&self, assertion: &str) -> Result<Caller, Invalid> {
        let header = decode_header(assertion)?;
        if header.typ.as_deref() != Some(TYPE) {
            return Err(Invalid::Type);
        }
        let key = header.kid.and_then(|kid| self.keys.find(&kid)).ok_or(Invalid::Key)?;
        // The key decides the algorithm: the header is not signed by anyone yet.
        let mut validation = Validation::new(algorithm(key).ok_or(Invalid::Key)?);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        validation.leeway = LEEWAY_SECONDS;
        Ok(decode(assertion, &DecodingKey::from_jwk(key)?, &validation)?.claims)
    }
}

/// Returns the algorithm of a key; `None` if a gate signs no assertion with it.
fn algorithm(key: &Jwk) -> Option<Algorithm> {
    match key.common.key_algorithm? {
        KeyAlgorithm::EdDSA => Some(Algorithm::EdDSA),
        KeyAlgorithm::ES256 => Some(Algorithm::ES256),
        _ => None,
    }
}

const TYPE: &str = "portcullis-assertion+jwt";

/// How far the clocks of the gate and of this Worker may differ.
const LEEWAY_SECONDS: u64 = 5;
