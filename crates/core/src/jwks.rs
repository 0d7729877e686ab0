//! A JSON Web Key Set (RFC 7517) as it is loaded: each key with its one algorithm, and the reason why
//! any other key was left out.

use crate::denial::Denial;
use crate::jwt::UnverifiedHeader;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::fmt;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037).
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PSS with SHA-256.
    #[serde(rename = "PS256")]
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
}

impl Algorithm {
    /// The algorithm of that name, if it is one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::EdDsa, Self::Es256, Self::Ps256, Self::Rs256].into_iter().find(|a| a.name() == name)
    }

    /// The name of RFC 7518 or RFC 8037.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
        }
    }

    /// Whether a key of that type and curve is for this algorithm.
    fn fits(self, kty: &str, crv: Option<&str>) -> bool {
        match self {
            Self::EdDsa => kty == "OKP" && crv == Some("Ed25519"),
            Self::Es256 => kty == "EC" && crv == Some("P-256"),
            Self::Ps256 | Self::Rs256 => kty == "RSA",
        }
    }
}

/// A key that may vouch for tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VerifyingKey {
    /// Its name; a key set of one key may leave it out.
    pub kid: Option<String>,
    /// Its one algorithm.
    pub algorithm: Algorithm,
    /// The public members alone, as JSON, for the host to import.
    pub jwk: String,
}

/// The keys of a set that may vouch for tokens.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Jwks {
    keys: Vec<VerifyingKey>,
}

/// Why a text is no key set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JwksError {
    /// It is not JSON with an array `keys`.
    Malformed,
    /// It holds more keys than are looked at.
    TooManyKeys,
}

/// Why one key of a set may not vouch for tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyFault {
    /// No `alg`, and the issuer's algorithms leave more than one choice, or none.
    AlgorithmAmbiguous,
    /// Its `alg` is not one that the issuer may use.
    AlgorithmNotAllowed,
    /// Its type or curve does not fit its `alg`.
    KeyTypeMismatch,
    /// A member that it needs is missing or no base64url.
    MemberMissing,
    /// It is not for verifying: `use` is not `sig`, or `key_ops` lacks `verify`.
    NotForVerifying,
    /// An RSA exponent of 1, or an even one.
    RsaExponentWeak,
    /// An RSA modulus of less than 2048 bits.
    RsaModulusShort,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlgorithmAmbiguous => {
                "no alg, and the issuer allows not exactly one for its type"
            }
            Self::AlgorithmNotAllowed => "its alg is not allowed for the issuer",
            Self::KeyTypeMismatch => "its kty or crv does not fit its alg",
            Self::MemberMissing => "a member is missing or malformed",
            Self::NotForVerifying => "its use or key_ops is not for verifying",
            Self::RsaExponentWeak => "its RSA exponent is weak",
            Self::RsaModulusShort => "its RSA modulus is shorter than 2048 bits",
        })
    }
}

impl Jwks {
    /// Reads a key set for an issuer that may use `allowed`. Keys that may not vouch are left out, each
    /// with its place in the set and the fault, for the log.
    pub fn parse(
        text: &str,
        allowed: &[Algorithm],
    ) -> Result<(Self, Vec<(usize, KeyFault)>), JwksError> {
        let set: RawSet = serde_json::from_str(text).map_err(|_| JwksError::Malformed)?;
        if set.keys.len() > KEYS_MAX {
            return Err(JwksError::TooManyKeys);
        }
        let (mut keys, mut faults) = (Vec::new(), Vec::new());
        for (place, raw) in set.keys.iter().enumerate() {
            match load(raw, allowed) {
                Ok(key) => keys.push(key),
                Err(fault) => faults.push((place, fault)),
            }
        }
        Ok((Self { keys }, faults))
    }

    /// All keys, in the order of the set.
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// The place of the one key that a token's header names. The key decides the algorithm: a header
    /// that claims another is refused. A token without `kid` is served only where one key is left.
    pub fn select(&self, header: &UnverifiedHeader) -> Result<usize, Denial> {
        let mut named = self.keys.iter().enumerate().filter(|(_, key)| match &header.kid {
            Some(kid) => key.kid.as_ref() == Some(kid),
            None => key.algorithm == header.alg,
        });
        match (named.next(), named.next()) {
            (Some((place, key)), None) if key.algorithm == header.alg => Ok(place),
            (Some(_), None) => Err(Denial::AlgorithmRefused),
            (Some(_), Some(_)) | (None, _) => Err(Denial::KeyUnknown),
        }
    }
}

#[derive(Deserialize)]
struct RawSet {
    keys: Vec<Map<String, Value>>,
}

fn load(raw: &Map<String, Value>, allowed: &[Algorithm]) -> Result<VerifyingKey, KeyFault> {
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
    let members: &[&str] = match algorithm {
        Algorithm::EdDsa => &["x"],
        Algorithm::Es256 => &["x", "y"],
        Algorithm::Ps256 | Algorithm::Rs256 => &["n", "e"],
    };
    let mut public = Map::new();
    public.insert("kty".into(), kty.into());
    if let Some(crv) = text("crv") {
        public.insert("crv".into(), crv.into());
    }
    for name in members {
        let value = text(name).ok_or(KeyFault::MemberMissing)?;
        let bytes = URL_SAFE_NO_PAD.decode(value).map_err(|_| KeyFault::MemberMissing)?;
        match *name {
            "n" if significant_bits(&bytes) < 2048 => return Err(KeyFault::RsaModulusShort),
            "e" if significant_bits(&bytes) < 2 || bytes.last().is_some_and(|b| b % 2 == 0) => {
                return Err(KeyFault::RsaExponentWeak);
            }
            _ => {}
        }
        public.insert((*name).into(), value.into());
    }
    let jwk = Value::Object(public).to_string();
    Ok(VerifyingKey { kid: text("kid").map(str::to_owned), algorithm, jwk })
}

fn significant_bits(bytes: &[u8]) -> usize {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let rest = bytes.len() - zeros;
    bytes.get(zeros).map_or(0, |first| rest * 8 - first.leading_zeros() as usize)
}

/// More keys than any issuer publishes.
const KEYS_MAX: usize = 64;

#[cfg(test)]
mod tests;
