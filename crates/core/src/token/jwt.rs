//! The form of a JWT (RFC 7515, 7519, 8725), before its signature is verified.

use crate::jose::header::UnverifiedHeader;
use crate::json;
use crate::policy::issuer::{Issuer, TokenType};
use crate::refusal::Denial;
use crate::time::UnixSeconds;
use crate::token::bearer::Token;
use crate::token::claims::Claims;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// A JWS in compact form (RFC 7515 section 7.1), parsed, with well-typed claims within their times.
/// One of the policy's issuers may have made it.
#[derive(Clone, Debug)]
pub struct UnverifiedJwt<'a> {
    header: UnverifiedHeader,
    pub(crate) claims: Claims,
    pub(crate) issuer: usize,
    signing_input: &'a str,
    signature: Vec<u8>,
}

impl<'a> UnverifiedJwt<'a> {
    /// Parses a token: three segments of canonical base64url, the first two JSON objects. Checks
    /// header and claims by the issuer that it names, at `now`. Of its other claims, `others` are
    /// kept.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, such as [`Denial::TokenMalformed`],
    /// [`Denial::IssuerUnknown`], [`Denial::AudienceMismatch`] or [`Denial::TokenExpired`].
    pub fn parse(
        token: Token<'a>,
        issuers: &[Issuer],
        others: &[String],
        now: UnixSeconds,
    ) -> Result<Self, Denial> {
        let text = token.expose();
        let (signing_input, signature) = text.rsplit_once('.').ok_or(Denial::TokenMalformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Denial::TokenMalformed)?;
        let header_members = segment(header)?;
        let mut members = segment(payload)?;
        let signature = decode(signature)?;
        let header = UnverifiedHeader::read(&header_members)?;

        let iss = members.get("iss").ok_or(Denial::ClaimMissing("iss"))?;
        let iss = iss.as_str().ok_or(Denial::TokenMalformed)?;
        let signs = |issuer: &Issuer| issuer.keys.is_some() && issuer.accepts(iss);
        let place = issuers.iter().position(signs);
        let place = place.ok_or(Denial::IssuerUnknown)?;
        let issuer = issuers.get(place).ok_or(Denial::IssuerUnknown)?;
        if !issuer.algorithms.contains(&header.alg) {
            return Err(Denial::AlgorithmRefused);
        }
        if !accepts_type(issuer.token_type, header.typ.as_deref())
            || issuer.header.unmet(&header_members).is_some()
        {
            return Err(Denial::TokenTypeRefused);
        }
        let claims = Claims::of_jwt(&mut members, issuer, others)?;
        claims.check_times(issuer.leeway_seconds, now)?;
        Ok(Self { header, claims, issuer: place, signing_input, signature })
    }

    /// Returns whether a text has the form of a JWT. Otherwise it is an opaque token.
    pub(crate) fn has_form(token: Token<'_>) -> bool {
        token.expose().bytes().filter(|byte| *byte == b'.').count() == 2
    }

    /// Returns the header.
    pub fn header(&self) -> &UnverifiedHeader {
        &self.header
    }

    /// Returns the place of its issuer in the policy.
    pub fn issuer(&self) -> usize {
        self.issuer
    }

    /// Returns the name of the issuer by which everything about the token is kept: its `iss`, or
    /// what that is an alias of.
    pub fn iss(&self) -> &str {
        &self.claims.iss
    }

    /// Returns whether a key of its issuer's key set may sign for it. `owner` is the key's member
    /// `issuer`.
    pub fn admits_key_of(&self, owner: Option<&str>, issuers: &[Issuer]) -> bool {
        let issuer = issuers.get(self.issuer);
        issuer.is_some_and(|issuer| issuer.admits_key_of(owner, &self.claims.iss))
    }

    /// Returns the signed text (RFC 7515 section 5.2).
    pub fn signing_input(&self) -> &'a str {
        self.signing_input
    }

    /// Returns the signature.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }
}

fn accepts_type(required: TokenType, typ: Option<&str>) -> bool {
    // RFC 7515 section 4.1.9: the prefix `application/` is optional; media types ignore case.
    let typ = typ.map(str::to_ascii_lowercase);
    let typ = typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
    match required {
        TokenType::AtJwt => typ == Some("at+jwt"),
        TokenType::Jwt => matches!(typ, Some("at+jwt" | "jwt") | None),
        TokenType::Off => true,
    }
}

/// Returns whether a token is encrypted: a JWE in compact form (RFC 7516 section 7.1), whose header
/// names a content encryption.
pub(super) fn is_encrypted(token: Token<'_>) -> bool {
    let mut segments = token.expose().split('.');
    let header = segments.next().and_then(|header| segment(header).ok());
    segments.count() == 4 && header.is_some_and(|header| header.contains_key("enc"))
}

pub(crate) fn segment(text: &str) -> Result<Map<String, Value>, Denial> {
    json::object(&decode(text)?).ok_or(Denial::TokenMalformed)
}

/// Decodes canonical base64url: no padding, no other alphabet, no stray bits at the end.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, Denial> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Denial::TokenMalformed)
}

#[cfg(test)]
mod tests;
