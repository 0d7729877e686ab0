//! The header of a signed token (RFC 7515 section 4).

use super::algorithm::Algorithm;
use crate::refusal::Denial;
use serde_json::{Map, Value};

/// The header members that the edge uses. Others are ignored, except those that change a token's
/// meaning or bring its own key; these are rejected.
#[derive(Clone, Debug)]
pub struct UnverifiedHeader {
    /// The algorithm that the token claims (RFC 7515 section 4.1.1).
    pub alg: Algorithm,
    /// The key that the token names (RFC 7515 section 4.1.4), at most 256 bytes.
    pub kid: Option<String>,
    /// The media type of the token (RFC 7515 section 4.1.9).
    pub typ: Option<String>,
}

impl UnverifiedHeader {
    /// Reads a header. Rejects every extension (RFC 7515 section 4.1.11), and a token that brings
    /// its own key (RFC 8725 section 3.10). Nested tokens need no rule: their payload is not a JSON
    /// object.
    pub fn read(members: &Map<String, Value>) -> Result<Self, Denial> {
        if FORBIDDEN.iter().any(|name| members.contains_key(*name)) {
            return Err(Denial::TokenMalformed);
        }
        let text = |name: &str| match members.get(name) {
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Denial::TokenMalformed),
            None => Ok(None),
        };
        let alg = text("alg")?.ok_or(Denial::TokenMalformed)?;
        let kid = text("kid")?;
        if kid.is_some_and(|kid| kid.len() > KID_BYTES_MAX) {
            return Err(Denial::TokenMalformed);
        }
        let typ = text("typ")?.cloned();
        let alg = Algorithm::parse(alg).ok_or(Denial::AlgorithmRefused)?;
        Ok(Self { alg, kid: kid.cloned(), typ })
    }
}

/// Members that change a token's meaning, or that bring a key.
pub(crate) const FORBIDDEN: [&str; 9] =
    ["b64", "crit", "enc", "epk", "jku", "jwk", "x5c", "x5u", "zip"];

/// A length above that of any issuer's key ids.
pub(crate) const KID_BYTES_MAX: usize = 256;
