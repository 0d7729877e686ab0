//! A token before verification: its possible issuer, and how to verify it.

use super::api_key;
use super::bearer::Token;
use super::jwt::{UnverifiedJwt, is_encrypted};
use crate::policy::introspection::Introspection;
use crate::policy::issuer::Issuer;
use crate::refusal::Denial;
use crate::time::UnixSeconds;

/// A token that is not verified yet.
#[allow(clippy::large_enum_variant, reason = "made once a request and taken apart at once")]
#[derive(Debug)]
pub enum UnverifiedToken<'a> {
    /// A well-formed JWT within its lifetime, to be verified by its issuer's key.
    Jwt(UnverifiedJwt<'a>),
    /// An opaque token, to be verified by the store or its provider.
    Opaque(Provider<'a>),
    /// A well-formed API key, to be verified by its record in the store, or else by its issuer.
    ApiKey(UnverifiedKey<'a>),
}

/// An API key of good form, which may be made up.
#[derive(Clone, Copy, Debug)]
pub struct UnverifiedKey<'a> {
    /// The place of its issuer in the policy.
    pub issuer: usize,
    /// What knows the key if the store has no record of it; `None` if nothing does.
    pub provider: Option<Provider<'a>>,
}

/// The provider that can introspect a request's token.
#[derive(Clone, Copy, Debug)]
pub struct Provider<'a> {
    /// The raw token, which only [`Introspection::request`] may use.
    pub token: Token<'a>,
    /// The place of its issuer in the policy.
    pub issuer: usize,
    /// The endpoint and the edge's credentials there.
    pub introspection: &'a Introspection,
    /// Whether the token is an API key, so that the response must have what belongs to one.
    pub is_api_key: bool,
}

impl<'a> UnverifiedToken<'a> {
    /// Returns the place of its issuer in the policy.
    pub(crate) fn issuer(&self) -> usize {
        match self {
            Self::Jwt(jwt) => jwt.issuer,
            Self::Opaque(provider) => provider.issuer,
            Self::ApiKey(key) => key.issuer,
        }
    }

    /// Checks everything that needs no I/O: form, header, claims and times. Of the other claims,
    /// `others` are kept.
    pub(crate) fn parse(
        token: Token<'a>,
        issuers: &'a [Issuer],
        others: &[String],
        now: UnixSeconds,
    ) -> Result<Self, Denial> {
        let key = Self::api_key(token, issuers)?;
        if !token.may_be(key.is_some()) {
            return Err(Denial::TokenMalformed);
        }
        if let Some(key) = key {
            return Ok(Self::ApiKey(key));
        }
        if UnverifiedJwt::has_form(token) {
            return UnverifiedJwt::parse(token, issuers, others, now).map(Self::Jwt);
        }
        let provider = issuers.iter().enumerate().find_map(|(issuer, described)| {
            let opaque = described.keys.is_none();
            let introspection = described.introspection.as_ref().filter(|_| opaque)?;
            let fits = token.expose().starts_with(&introspection.token_prefix);
            fits.then_some(Provider { token, issuer, introspection, is_api_key: false })
        });
        provider.map(Self::Opaque).ok_or_else(|| match is_encrypted(token) {
            true => Denial::TokenEncrypted,
            false => Denial::TokenMalformed,
        })
    }

    /// Returns an API key. Returns `None` if the token does not begin like one, and rejects one
    /// that does and has another form.
    fn api_key(
        token: Token<'a>,
        issuers: &'a [Issuer],
    ) -> Result<Option<UnverifiedKey<'a>>, Denial> {
        let text = token.expose();
        let mut begins = false;
        for (issuer, described) in issuers.iter().enumerate() {
            for prefix in &described.api_key_prefixes {
                if api_key::is_well_formed(text, prefix) {
                    let introspection = described.introspection.as_ref();
                    let provider = introspection.map(|introspection| Provider {
                        token,
                        issuer,
                        introspection,
                        is_api_key: true,
                    });
                    return Ok(Some(UnverifiedKey { issuer, provider }));
                }
                begins |= text.starts_with(prefix);
            }
        }
        if begins { Err(Denial::TokenMalformed) } else { Ok(None) }
    }
}
