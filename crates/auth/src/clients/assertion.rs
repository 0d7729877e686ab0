//! Assertions by which clients authenticate (RFC 7523 section 2.2).

use super::jwks::{select, with_general_name};
use super::settings::OAuthClient;
use crate::token::token_hash;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{UnixSeconds, UnverifiedHeader, json_object};
use serde_json::{Map, Value};

/// The `client_assertion_type` of a JWT.
pub const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An assertion, whose form was checked, but not its signature.
#[derive(Debug)]
pub struct Assertion<'a> {
    header: UnverifiedHeader,
    claims: Map<String, Value>,
    signing_input: &'a str,
    signature: &'a str,
}

/// A verified assertion, to be used once.
#[derive(Debug, Eq, PartialEq)]
pub struct UsedAssertion {
    /// The hash of the client's id and the assertion's `jti`.
    pub hash: String,
    /// When the assertion is refused anyway, in Unix seconds.
    pub expires_at: u64,
}

/// The reason why an assertion is refused, for the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AssertionError {
    Audience,
    /// `iss` or `sub` is missing, or is not the client.
    Client,
    Expired,
    /// `exp` is too far ahead.
    LifeLong,
    Malformed,
    /// `iat` or `nbf` lies ahead, or `iat` too far back.
    NotYetValid,
    Signature,
    /// The header's `typ` is another kind of token's.
    Type,
}

impl AssertionError {
    /// Returns the name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audience => "assertion_audience",
            Self::Client => "assertion_client",
            Self::Expired => "assertion_expired",
            Self::LifeLong => "assertion_life",
            Self::Malformed => "assertion_malformed",
            Self::NotYetValid => "assertion_not_yet_valid",
            Self::Signature => "assertion_signature",
            Self::Type => "assertion_type",
        }
    }
}

impl<'a> Assertion<'a> {
    /// Reads an assertion. Checks its form only.
    pub fn parse(text: &'a str) -> Result<Self, AssertionError> {
        let malformed = AssertionError::Malformed;
        if text.len() > BYTES_MAX {
            return Err(malformed);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signing_input.split_once('.').ok_or(malformed)?;
        if claims.contains('.') || signature.is_empty() {
            return Err(malformed);
        }
        let object = |part: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed)?;
            json_object(&bytes).ok_or(malformed)
        };
        let header = with_general_name(&object(header)?);
        let header = UnverifiedHeader::read(&header).map_err(|_| malformed)?;
        let is_own_type = |typ: &str| TYPES.iter().any(|own| own.eq_ignore_ascii_case(typ));
        if header.typ.as_deref().is_some_and(|typ| !is_own_type(typ)) {
            return Err(AssertionError::Type);
        }
        Ok(Self { header, claims: object(claims)?, signing_input, signature })
    }

    /// Returns the client that the assertion claims to be of, its issuer and its subject.
    pub fn client_id(&self) -> Result<&str, AssertionError> {
        let iss = self.text("iss").ok_or(AssertionError::Client)?;
        let sub = self.text("sub").ok_or(AssertionError::Client)?;
        if iss == sub { Ok(iss) } else { Err(AssertionError::Client) }
    }

    /// Verifies the assertion by the client's keys: the signature first, so that nothing else is
    /// learnt about a forged one. `audiences` are the texts by which this service may be named.
    pub fn verify(
        &self,
        client: &OAuthClient,
        audiences: &[String],
        now: UnixSeconds,
    ) -> Result<UsedAssertion, AssertionError> {
        let signature = AssertionError::Signature;
        let keys = client.jwks.as_deref().ok_or(signature)?;
        let (key, algorithm) = select(keys, &self.header).ok_or(signature)?;
        let input = self.signing_input.as_bytes();
        if !jsonwebtoken::crypto::verify(self.signature, input, &key, algorithm).unwrap_or(false) {
            return Err(signature);
        }
        if self.client_id()? != client.id {
            return Err(AssertionError::Client);
        }
        let is_own = |name: &Value| {
            name.as_str().is_some_and(|name| audiences.iter().any(|own| own == name))
        };
        // An assertion for several servers could be sent on by one of them.
        let for_this_service = match self.claims.get("aud") {
            Some(Value::Array(names)) => {
                (1..=AUDIENCES_MAX).contains(&names.len()) && names.iter().all(is_own)
            }
            Some(name) => is_own(name),
            None => false,
        };
        if !for_this_service {
            return Err(AssertionError::Audience);
        }
        let exp = self.time("exp")?.ok_or(AssertionError::Malformed)?;
        let until = exp.saturating_add(LEEWAY_SECONDS);
        if until <= now.0 {
            return Err(AssertionError::Expired);
        }
        if exp > now.plus(LIFE_SECONDS_MAX + LEEWAY_SECONDS).0 {
            return Err(AssertionError::LifeLong);
        }
        let (iat, nbf) = (self.time("iat")?, self.time("nbf")?);
        let latest = now.plus(LEEWAY_SECONDS).0;
        let earliest = now.0.saturating_sub(LIFE_SECONDS_MAX + LEEWAY_SECONDS);
        if iat.is_some_and(|iat| iat > latest || iat < earliest)
            || nbf.is_some_and(|nbf| nbf > latest)
        {
            return Err(AssertionError::NotYetValid);
        }
        let jti = self.text("jti").ok_or(AssertionError::Malformed)?;
        if !(1..=JTI_BYTES_MAX).contains(&jti.len()) {
            return Err(AssertionError::Malformed);
        }
        // The length keeps apart what could be divided in two ways.
        let hash = token_hash(&format!("assertion:{}:{}{jti}", client.id.len(), client.id));
        Ok(UsedAssertion { hash, expires_at: until })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    /// Returns a NumericDate, without its fraction; `None` if there is none.
    fn time(&self, name: &str) -> Result<Option<u64>, AssertionError> {
        let Some(value) = self.claims.get(name) else { return Ok(None) };
        if let Some(seconds) = value.as_u64() {
            return Ok(Some(seconds));
        }
        // Beyond this, a number with a fraction is not exact.
        let seconds = value.as_f64().filter(|seconds| (0.0..9e15).contains(seconds));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range")]
        let seconds = seconds.map(|seconds| seconds as u64);
        seconds.map(Some).ok_or(AssertionError::Malformed)
    }
}

/// The values of `typ`: RFC 7519's, and that of the draft which updates RFC 7523.
const TYPES: [&str; 3] =
    ["JWT", "client-authentication+jwt", "application/client-authentication+jwt"];
/// A number above the size of an assertion with a signature by an RSA key of 8192 bits.
const BYTES_MAX: usize = 8192;
const AUDIENCES_MAX: usize = 4;
const JTI_BYTES_MAX: usize = 256;
/// The longest life of an assertion.
const LIFE_SECONDS_MAX: u64 = 300;
/// How far the clocks of a client and of this service may differ.
const LEEWAY_SECONDS: u64 = 30;

#[cfg(test)]
mod tests;
