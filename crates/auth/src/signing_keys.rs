//! The keys that sign access tokens: the next one, published before it signs; the current one; and
//! previous ones, until their last token has expired.
//!
//! The keys are in the database, encrypted under a master key, so that all auth services share
//! them. Each service reloads them every few seconds.

mod algorithm;
mod jwk;
mod key_set;
mod ring;
mod rotate;
mod schedule;

pub use algorithm::KeyAlgorithm;
#[cfg(test)]
pub use jwk::{generate_pkcs8, public_jwk};
pub use ring::KeyRing;
pub use rotate::{RotateError, rotate};
pub use schedule::{PUBLISH_SECONDS, SigningSettings, key_role, verifies_until};

#[cfg(test)]
mod tests;
