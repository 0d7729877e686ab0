//! JOSE: signature algorithms, token headers and key sets (RFC 7515, 7517, 7518).

pub(crate) mod algorithm;
pub(crate) mod header;
pub(crate) mod jwks;
pub(crate) mod public_key;
