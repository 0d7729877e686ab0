//! Clients that get access tokens for themselves (RFC 6749 section 4.4): their settings, their
//! keys, and the assertions by which they authenticate.

mod assertion;
mod jwks;
mod settings;

pub use assertion::{ASSERTION_TYPE, Assertion, UsedAssertion};
pub use jwks::ALGORITHM_NAMES;
pub use settings::{
    AuthMethod, ClientEdit, OAuthClient, is_client_id, new_client_id, null_as_empty, nullable,
};
