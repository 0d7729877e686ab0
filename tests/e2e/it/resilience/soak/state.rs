//! What the callers keep between requests, apart from the first issuer's sessions.

pub mod api_keys;
pub mod credits;
pub mod guests;
pub mod operator;
pub mod overrides;
pub mod visitors;
