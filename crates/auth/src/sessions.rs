//! The rules of sessions: how they begin, are refreshed, listed and ended.

mod client_grant;
mod introspect;
mod issue;
mod list;
mod login;
mod password;
mod refresh;
mod revoke;
mod scope;
mod service;
mod stored_response;
mod tokens;

pub use client_grant::{ClientCredential, ClientToken};
pub use login::VerifiedUser;
pub use password::NewPassword;
pub use service::Sessions;
pub use tokens::Tokens;

#[cfg(test)]
mod tests;
