//! The form and the claims of a JWT (RFC 7519, 8725, 9068), before its signature is known to hold.
//! Whatever this module returns says so in its name: nobody has vouched for it yet.

use crate::credential::Token;
use crate::denial::Denial;
use crate::jwks::Algorithm;
use crate::policy::{Issuer, TokenType};
use crate::time::UnixSeconds;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserializer, IgnoredAny, Visitor};
use serde::{Deserialize, de::DeserializeOwned};
use std::fmt;

/// A JWS in compact form, taken apart.
#[derive(Clone, Debug)]
pub struct UnverifiedJwt<'a> {
    pub(crate) header: UnverifiedHeader,
    pub(crate) claims: Claims,
    signing_input: &'a str,
    signature: Vec<u8>,
}

/// The members of a JOSE header that matter here. All others are ignored, but for those that make a
/// token mean something else or name a key of its own, which are refused.
#[derive(Clone, Debug)]
pub struct UnverifiedHeader {
    /// The algorithm that the token claims.
    pub alg: Algorithm,
    /// The key that the token names.
    pub kid: Option<String>,
    /// The media type of the whole.
    pub typ: Option<String>,
}

/// The claims that matter here (RFC 7519 section 4.1, RFC 9068 section 2.2).
#[derive(Clone, Debug, Deserialize)]
pub struct Claims {
    /// The issuer.
    pub iss: String,
    /// The subject.
    pub sub: String,
    aud: Audience,
    exp: NumericDate,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    /// The token's own name.
    pub jti: Option<String>,
    /// The session.
    pub sid: Option<String>,
    /// The client.
    pub client_id: Option<String>,
    /// The scope, space-separated.
    pub scope: Option<String>,
}

impl<'a> UnverifiedJwt<'a> {
    /// Takes a token apart: three segments of canonical base64url, the first two JSON objects.
    pub fn parse(token: Token<'a>) -> Result<Self, Denial> {
        let text = token.expose();
        let (signing_input, signature) = text.rsplit_once('.').ok_or(Denial::TokenMalformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Denial::TokenMalformed)?;
        let header: RawHeader = segment(header)?;
        let claims: Claims = segment(payload)?;
        let signature = decode(signature)?;
        Ok(Self { header: header.accept()?, claims, signing_input, signature })
    }

    /// Judges header and claims by what the issuer may say, at `now`.
    pub fn check(&self, issuer: &Issuer, now: UnixSeconds) -> Result<(), Denial> {
        if !issuer.algorithms.contains(&self.header.alg) {
            return Err(Denial::AlgorithmRefused);
        }
        if !accepts_type(issuer.token_type, self.header.typ.as_deref()) {
            return Err(Denial::TokenTypeRefused);
        }
        if !self.claims.aud.contains(&issuer.audience) {
            return Err(Denial::AudienceMismatch);
        }
        let leeway = issuer.leeway_seconds;
        if self.claims.exp.0.saturating_add(leeway) <= now.0 {
            return Err(Denial::TokenExpired);
        }
        let ahead = now.plus(leeway).0;
        let begins = [&self.claims.nbf, &self.claims.iat];
        if begins.into_iter().flatten().any(|moment| moment.0 > ahead) {
            return Err(Denial::TokenNotYetValid);
        }
        Ok(())
    }

    /// Its header.
    pub fn header(&self) -> &UnverifiedHeader {
        &self.header
    }

    /// The text that was signed.
    pub fn signing_input(&self) -> &'a str {
        self.signing_input
    }

    /// The signature's bytes.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl Claims {
    /// When it was issued; 0 where it does not say, so that every revocation by time applies.
    pub fn issued_at(&self) -> UnixSeconds {
        UnixSeconds(self.iat.as_ref().map_or(0, |iat| iat.0))
    }

    /// Whether the scope holds `wanted` as a whole word.
    pub fn has_scope(&self, wanted: &str) -> bool {
        self.scope.as_deref().unwrap_or_default().split(' ').any(|scope| scope == wanted)
    }
}

fn accepts_type(wanted: TokenType, typ: Option<&str>) -> bool {
    // RFC 7515 section 4.1.9: the prefix `application/` may be left out; media types ignore case.
    let typ = typ.map(str::to_ascii_lowercase);
    let typ = typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
    match wanted {
        TokenType::AtJwt => typ == Some("at+jwt"),
        TokenType::Jwt => matches!(typ, Some("at+jwt" | "jwt") | None),
        TokenType::Off => true,
    }
}

fn segment<T: DeserializeOwned>(text: &str) -> Result<T, Denial> {
    let bytes = decode(text)?;
    // A struct can also be read from an array; a JOSE header or claims set can't.
    if bytes.first() != Some(&b'{') {
        return Err(Denial::TokenMalformed);
    }
    serde_json::from_slice(&bytes).map_err(|_| Denial::TokenMalformed)
}

/// Canonical base64url: no padding, no other alphabet, no stray bits at the end.
fn decode(text: &str) -> Result<Vec<u8>, Denial> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Denial::TokenMalformed)
}

#[derive(Deserialize)]
struct RawHeader {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    enc: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    x5c: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
}

impl RawHeader {
    /// No extension is understood (RFC 7515 section 4.1.11), and a token does not bring its own key
    /// (RFC 8725 section 3.10).
    fn accept(self) -> Result<UnverifiedHeader, Denial> {
        let kid_bytes = self.kid.as_ref().map_or(0, String::len);
        if self.b64 || self.crit || self.enc || self.jku || self.jwk || self.x5c || self.x5u {
            return Err(Denial::TokenMalformed);
        }
        if kid_bytes > KID_BYTES_MAX {
            return Err(Denial::TokenMalformed);
        }
        let alg = Algorithm::parse(&self.alg).ok_or(Denial::AlgorithmRefused)?;
        Ok(UnverifiedHeader { alg, kid: self.kid, typ: self.typ })
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    Many(Vec<String>),
    One(String),
}

impl Audience {
    fn contains(&self, wanted: &str) -> bool {
        match self {
            Self::Many(all) => all.iter().any(|audience| audience == wanted),
            Self::One(audience) => audience == wanted,
        }
    }
}

/// A NumericDate (RFC 7519 section 2) in whole seconds. A fraction is dropped; a string, a negative
/// number or one that a float can't count in seconds is refused.
#[derive(Clone, Debug)]
struct NumericDate(u64);

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumericDateVisitor)
    }
}

struct NumericDateVisitor;

impl Visitor<'_> for NumericDateVisitor {
    type Value = NumericDate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds since the epoch")
    }

    fn visit_u64<E: serde::de::Error>(self, seconds: u64) -> Result<NumericDate, E> {
        if seconds > NUMERIC_DATE_MAX {
            Err(E::custom("too large"))
        } else {
            Ok(NumericDate(seconds))
        }
    }

    fn visit_f64<E: serde::de::Error>(self, seconds: f64) -> Result<NumericDate, E> {
        #[expect(clippy::cast_precision_loss, reason = "the bound is a power of two")]
        let bound = NUMERIC_DATE_MAX as f64;
        if !(0.0..=bound).contains(&seconds) {
            return Err(E::custom("out of range"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
        Ok(NumericDate(seconds as u64))
    }
}

/// 2^53: the last second that a JSON number counts exactly in every language.
const NUMERIC_DATE_MAX: u64 = 1 << 53;

const KID_BYTES_MAX: usize = 256;

#[cfg(test)]
mod tests;
