//! Tokens: which issuer they are from, and whether they are valid.

pub mod api_keys;
pub mod authenticate;
pub mod cache;
pub mod introspect;
pub mod introspection_limits;
pub mod key_fetch;
pub mod key_selection;
pub mod key_sets;
