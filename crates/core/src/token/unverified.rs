//! A token before verification: its possible issuer, and how to verify it.

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
}

impl<'a> UnverifiedToken<'a> {
    /// Returns the place of its issuer in the policy.
    pub(crate) fn issuer(&self) -> usize {
        match self {
            Self::Jwt(jwt) => jwt.issuer,
            Self::Opaque(provider) => provider.issuer,
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
        if UnverifiedJwt::has_form(token) {
            return UnverifiedJwt::parse(token, issuers, others, now).map(Self::Jwt);
        }
        let provider = issuers.iter().enumerate().find_map(|(issuer, described)| {
            let opaque = described.keys.is_none();
            let introspection = described.introspection.as_ref().filter(|_| opaque)?;
            let fits = token.expose().starts_with(&introspection.token_prefix);
            fits.then_some(Provider { token, issuer, introspection })
        });
        provider.map(Self::Opaque).ok_or_else(|| match is_encrypted(token) {
            true => Denial::TokenEncrypted,
            false => Denial::TokenMalformed,
        })
    }
}
