//! JSON Web Key Sets (RFC 7517): each key with its one algorithm, and the reasons why keys are
//! rejected.

use super::algorithm::Algorithm;
use super::header::UnverifiedHeader;
use crate::json;
use crate::refusal::Denial;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::fmt;

/// A key that verifies tokens (RFC 7517 section 4).
#[derive(Clone, Eq, PartialEq)]
pub struct VerifyingKey {
    /// The key id. It may be missing if no other key has the same algorithm.
    pub kid: Option<String>,
    /// The only algorithm that it is used with.
    pub algorithm: Algorithm,
    /// The issuer that it signs for, if it is one of several that share the set; `{tenantid}` in it
    /// stands for each tenant.
    pub issuer: Option<String>,
    /// The members needed to verify, as a JWK for the host to import. For HMAC it is a secret.
    pub jwk: String,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?}, {})", self.kid, self.algorithm.name())
    }
}

/// The source of a key set, which decides whether it may hold secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// Readable by everyone: the issuer's URL, or a plain variable.
    Published,
    /// A secret variable.
    Secret,
}

/// The usable keys of a key set.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Jwks {
    keys: Vec<VerifyingKey>,
    /// Whether the set is a single key outside of any set, which no `kid` names.
    is_single: bool,
}

/// The reason why a text is not a key set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JwksError {
    /// The text is not JSON with an array `keys`.
    Malformed,
    /// The set holds more than 64 keys.
    TooManyKeys,
}

/// The reason why one key of a set is rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyFault {
    /// The key has no `alg`, and the issuer's algorithms leave more than one choice, or none.
    AlgorithmAmbiguous,
    /// The `alg` is not one of the issuer's.
    AlgorithmNotAllowed,
    /// The key type or curve does not fit `alg`.
    KeyTypeMismatch,
    /// A member has another length than the curve requires.
    LengthWrong,
    /// A required member is missing or is not base64url.
    MemberMissing,
    /// The key is not for verifying: `use` is not `sig`, or `key_ops` lacks `verify`.
    NotForVerifying,
    /// The RSA exponent is 1, or even.
    RsaExponentWeak,
    /// The RSA modulus has fewer than 2048 bits, or more than 8192.
    RsaModulusLength,
    /// The HMAC secret is readable by everyone.
    SecretPublished,
    /// The HMAC secret has fewer bits than its hash (RFC 7518 section 3.2).
    SecretShort,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlgorithmAmbiguous => {
                "no alg, and the issuer does not allow exactly one for its type"
            }
            Self::AlgorithmNotAllowed => "its alg is not allowed for the issuer",
            Self::KeyTypeMismatch => "its kty or crv does not fit its alg",
            Self::LengthWrong => "a member has another length than its curve requires",
            Self::MemberMissing => "a member is missing or malformed",
            Self::NotForVerifying => "its use or key_ops is not for verifying",
            Self::RsaExponentWeak => "its RSA exponent is weak",
            Self::RsaModulusLength => "its RSA modulus is not of 2048 to 8192 bits",
            Self::SecretPublished => "its secret is published; give it by jwks_variable",
            Self::SecretShort => "its secret is shorter than its hash",
        })
    }
}

impl Jwks {
    /// Reads a key set (RFC 7517 section 5) for an issuer that may use `allowed`. Rejected keys are
    /// returned with their place in the set and the reason, for the log.
    ///
    /// # Errors
    ///
    /// [`JwksError`] if the text is not a key set, or holds more than 64 keys. A set without a
    /// usable key is not an error.
    pub fn parse(
        text: &str,
        allowed: &[Algorithm],
        source: KeySource,
    ) -> Result<(Self, Vec<(usize, KeyFault)>), JwksError> {
        let set = json::object(text.as_bytes()).ok_or(JwksError::Malformed)?;
        let listed = set.get("keys").and_then(Value::as_array).ok_or(JwksError::Malformed)?;
        if listed.len() > KEYS_MAX {
            return Err(JwksError::TooManyKeys);
        }
        let (mut keys, mut faults) = (Vec::new(), Vec::new());
        for (place, raw) in listed.iter().enumerate() {
            let raw = raw.as_object().ok_or(JwksError::Malformed)?;
            match load(raw, allowed, source) {
                Ok(key) => keys.push(key),
                Err(fault) => faults.push((place, fault)),
            }
        }
        Ok((Self { keys, is_single: false }, faults))
    }

    /// Returns the set of one public key, given as a JWK without `kid`, for an issuer that may use
    /// `allowed`. It verifies tokens with any `kid` or none.
    ///
    /// # Errors
    ///
    /// The reason why the key is rejected.
    pub(crate) fn of_key(
        jwk: &Map<String, Value>,
        allowed: &[Algorithm],
    ) -> Result<Self, KeyFault> {
        let keys = vec![load(jwk, allowed, KeySource::Published)?];
        Ok(Self { keys, is_single: true })
    }

    /// Returns all keys, in the order of the set.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// Returns the place of the one key that a token's header names. The key decides the algorithm:
    /// a header that claims another is rejected (RFC 8725 section 3.1). Keys of different
    /// algorithms may share a `kid` (RFC 7517 section 4.5). Without `kid`, exactly one key must
    /// have the header's algorithm.
    ///
    /// # Errors
    ///
    /// [`Denial::KeyUnknown`] if there is no such key or more than one, and
    /// [`Denial::AlgorithmRefused`] if all keys of the `kid` have other algorithms.
    pub fn select(&self, header: &UnverifiedHeader) -> Result<usize, Denial> {
        let has_kid = |key: &VerifyingKey| self.is_single || key.kid == header.kid;
        let is_named = |key: &VerifyingKey| header.kid.is_none() || has_kid(key);
        let mut fitting = self
            .keys
            .iter()
            .enumerate()
            .filter(|(_, key)| key.algorithm == header.alg && is_named(key));
        match (fitting.next(), fitting.next()) {
            (Some((place, _)), None) => Ok(place),
            (None, _) if header.kid.is_some() && self.keys.iter().any(has_kid) => {
                Err(Denial::AlgorithmRefused)
            }
            _ => Err(Denial::KeyUnknown),
        }
    }
}

fn load(
    raw: &Map<String, Value>,
    allowed: &[Algorithm],
    source: KeySource,
) -> Result<VerifyingKey, KeyFault> {
    let text = |name: &str| raw.get(name).and_then(Value::as_str);
    let kty = text("kty").ok_or(KeyFault::MemberMissing)?;
    let algorithm = match raw.get("alg") {
        Some(alg) => alg
            .as_str()
            .and_then(Algorithm::parse)
            .filter(|alg| allowed.contains(alg))
            .ok_or(KeyFault::AlgorithmNotAllowed)?,
        None => {
            let mut fitting = allowed.iter().filter(|alg| alg.fits(kty, text("crv")));
            match (fitting.next(), fitting.next()) {
                (Some(alg), None) => *alg,
                _ => return Err(KeyFault::AlgorithmAmbiguous),
            }
        }
    };
    if !algorithm.fits(kty, text("crv")) {
        return Err(KeyFault::KeyTypeMismatch);
    }
    if raw.get("use").is_some_and(|usage| usage != "sig") {
        return Err(KeyFault::NotForVerifying);
    }
    let verifies =
        |ops: &Value| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify"));
    if raw.get("key_ops").is_some_and(|ops| !verifies(ops)) {
        return Err(KeyFault::NotForVerifying);
    }
    let parameters = algorithm.parameters();
    if parameters.kty == "oct" && source == KeySource::Published {
        return Err(KeyFault::SecretPublished);
    }
    let mut needed = Map::new();
    needed.insert("kty".into(), kty.into());
    if let Some(crv) = parameters.crv {
        needed.insert("crv".into(), crv.into());
    }
    for name in parameters.members {
        let value = text(name).ok_or(KeyFault::MemberMissing)?;
        let bytes = URL_SAFE_NO_PAD.decode(value).map_err(|_| KeyFault::MemberMissing)?;
        check_member(name, &bytes, parameters.member_bytes)?;
        needed.insert((*name).into(), value.into());
    }
    let jwk = json::write::map_text(&needed);
    let issuer = match raw.get("issuer") {
        Some(Value::String(issuer)) => Some(issuer.clone()),
        Some(_) => return Err(KeyFault::MemberMissing),
        None => None,
    };
    Ok(VerifyingKey { kid: text("kid").map(str::to_owned), algorithm, issuer, jwk })
}

fn check_member(name: &str, bytes: &[u8], length: Option<usize>) -> Result<(), KeyFault> {
    let fault = match (name, length) {
        ("n", _) => (!(2048..=8192).contains(&significant_bits(bytes)))
            .then_some(KeyFault::RsaModulusLength),
        ("e", _) => (significant_bits(bytes) < 2 || bytes.last().is_some_and(|b| b % 2 == 0))
            .then_some(KeyFault::RsaExponentWeak),
        ("k", Some(minimum)) => (bytes.len() < minimum).then_some(KeyFault::SecretShort),
        (_, Some(exact)) => (bytes.len() != exact).then_some(KeyFault::LengthWrong),
        (_, None) => None,
    };
    fault.map_or(Ok(()), Err)
}

fn significant_bits(bytes: &[u8]) -> usize {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let rest = bytes.len() - zeros;
    bytes.get(zeros).map_or(0, |first| rest * 8 - first.leading_zeros() as usize)
}

/// A number above that of the keys that any issuer publishes.
const KEYS_MAX: usize = 64;

#[cfg(test)]
mod tests;
