//! Tokens: from the request's credential to a verified token.

pub mod api_key;
mod audience;
pub(crate) mod bearer;
pub(crate) mod blocks;
pub(crate) mod claims;
pub(crate) mod introspection;
pub(crate) mod jwt;
pub(crate) mod received;
pub(crate) mod record;
pub(crate) mod revocation;
mod scope;
pub(crate) mod unverified;
pub(crate) mod verified;
