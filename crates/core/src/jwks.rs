//! A JSON Web Key Set (RFC 7517) as it is loaded: each key with its one algorithm, and the reason why
//! any other key was left out.

use crate::denial::Denial;
use crate::json;
use crate::jwt::UnverifiedHeader;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use std::fmt;

/// A signature algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384.
    Ps384,
    /// RSASSA-PSS with SHA-512.
    Ps512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

/// All that this module has to know about one algorithm.
struct Facts {
    name: &'static str,
    kty: &'static str,
    crv: Option<&'static str>,
    /// The members that make up the key.
    members: &'static [&'static str],
    /// Bytes of each member, where the curve or the hash sets them; for `oct`, at least so many.
    member_bytes: Option<usize>,
}

impl Algorithm {
    /// Each one.
    pub const ALL: [Self; 13] = [
        Self::EdDsa,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
    ];

    /// The algorithm of that name, if it is one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// The name of RFC 7518 or RFC 8037.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Whether its key must be nobody else's: whoever verifies with it could sign.
    pub(crate) fn is_secret(self) -> bool {
        self.facts().kty == "oct"
    }

    fn facts(self) -> Facts {
        let ec = |name, crv, bytes| Facts {
            name,
            kty: "EC",
            crv: Some(crv),
            members: &["x", "y"],
            member_bytes: Some(bytes),
        };
        let oct = |name, bytes| Facts {
            name,
            kty: "oct",
            crv: None,
            members: &["k"],
            member_bytes: Some(bytes),
        };
        let rsa =
            |name| Facts { name, kty: "RSA", crv: None, members: &["n", "e"], member_bytes: None };
        match self {
            Self::EdDsa => Facts {
                name: "EdDSA",
                kty: "OKP",
                crv: Some("Ed25519"),
                members: &["x"],
                member_bytes: Some(32),
            },
            Self::Es256 => ec("ES256", "P-256", 32),
            Self::Es384 => ec("ES384", "P-384", 48),
            Self::Es512 => ec("ES512", "P-521", 66),
            Self::Hs256 => oct("HS256", 32),
            Self::Hs384 => oct("HS384", 48),
            Self::Hs512 => oct("HS512", 64),
            Self::Ps256 => rsa("PS256"),
            Self::Ps384 => rsa("PS384"),
            Self::Ps512 => rsa("PS512"),
            Self::Rs256 => rsa("RS256"),
            Self::Rs384 => rsa("RS384"),
            Self::Rs512 => rsa("RS512"),
        }
    }

    /// Whether a key of that type and curve is for this algorithm.
    fn fits(self, kty: &str, crv: Option<&str>) -> bool {
        let facts = self.facts();
        facts.kty == kty && (facts.crv.is_none() || facts.crv == crv)
    }
}

/// A key that may vouch for tokens.
#[derive(Clone, Eq, PartialEq)]
pub struct VerifyingKey {
    /// Its name; a key set of one key may leave it out.
    pub kid: Option<String>,
    /// Its one algorithm.
    pub algorithm: Algorithm,
    /// The members that verify, and no others, as JSON, for the host to import. An HMAC key's is a secret.
    pub jwk: String,
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?}, {})", self.kid, self.algorithm.name())
    }
}

/// Where a key set comes from, which decides whether it may hold secrets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeySource {
    /// Anybody could read it: the issuer's URL, or a plain variable.
    Published,
    /// A secret variable.
    Secret,
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
    /// A member has not the length that its curve has.
    LengthWrong,
    /// A member that it needs is missing or no base64url.
    MemberMissing,
    /// It is not for verifying: `use` is not `sig`, or `key_ops` lacks `verify`.
    NotForVerifying,
    /// An RSA exponent of 1, or an even one.
    RsaExponentWeak,
    /// An RSA modulus of less than 2048 bits, or of more than 8192.
    RsaModulusLength,
    /// An HMAC secret that everybody could read.
    SecretPublished,
    /// An HMAC secret of fewer bits than its hash (RFC 7518 section 3.2).
    SecretShort,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AlgorithmAmbiguous => {
                "no alg, and the issuer allows not exactly one for its type"
            }
            Self::AlgorithmNotAllowed => "its alg is not allowed for the issuer",
            Self::KeyTypeMismatch => "its kty or crv does not fit its alg",
            Self::LengthWrong => "a member has not the length that its curve has",
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
    /// Reads a key set for an issuer that may use `allowed`. Keys that may not vouch are left out, each
    /// with its place in the set and the fault, for the log.
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
    let facts = algorithm.facts();
    if facts.kty == "oct" && source == KeySource::Published {
        return Err(KeyFault::SecretPublished);
    }
    let mut needed = Map::new();
    needed.insert("kty".into(), kty.into());
    if let Some(crv) = facts.crv {
        needed.insert("crv".into(), crv.into());
    }
    for name in facts.members {
        let value = text(name).ok_or(KeyFault::MemberMissing)?;
        let bytes = URL_SAFE_NO_PAD.decode(value).map_err(|_| KeyFault::MemberMissing)?;
        judge_member(name, &bytes, facts.member_bytes)?;
        needed.insert((*name).into(), value.into());
    }
    let jwk = Value::Object(needed).to_string();
    Ok(VerifyingKey { kid: text("kid").map(str::to_owned), algorithm, jwk })
}

fn judge_member(name: &str, bytes: &[u8], length: Option<usize>) -> Result<(), KeyFault> {
    let fault = match (name, length) {
        ("n", _) => (!(2048..=8192).contains(&significant_bits(bytes)))
            .then_some(KeyFault::RsaModulusLength),
        ("e", _) => (significant_bits(bytes) < 2 || bytes.last().is_some_and(|b| b % 2 == 0))
            .then_some(KeyFault::RsaExponentWeak),
        ("k", Some(least)) => (bytes.len() < least).then_some(KeyFault::SecretShort),
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

/// More keys than any issuer publishes.
const KEYS_MAX: usize = 64;

#[cfg(test)]
mod tests;
