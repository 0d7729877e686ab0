//! Clients that get access tokens for themselves (RFC 6749 section 4.4): their settings, their
//! keys, and the assertions by which they authenticate.

mod assertion;
mod jwks;
mod settings;

pub use assertion::{ASSERTION_TYPE, Assertion, AssertionError, UsedAssertion};
pub use jwks::{ALGORITHMS, check_jwks};
pub use settings::{AuthMethod, ClientEdit, OAuthClient};
