//! The policy of Portcullis: pure functions from a request's head and the store's replies to a verdict.
//!
//! The way of a request, in the order of the calls:
//!
//! 1. [`Policy::route`], then [`Check::new`]: credential, form of the token, claims. No I/O, no key.
//! 2. The host verifies the signature with the key that [`Jwks::select`] chose, and says so to
//!    [`Check::prove`], which returns a [`Proof`].
//! 3. [`Check::commands`]: everything that the verdict needs from the store, for one round trip.
//! 4. [`Check::decide`]: from the replies to a [`Permit`], or to a [`Refusal`] that says why.
//!
//! A [`Permit`] is the only value that lets a request be forwarded, and only step 4 makes one.
//!
//! Nothing here does I/O, reads a clock or the environment, or waits: time is an argument
//! ([`UnixSeconds`]), and so is an outage.

mod check;
mod credential;
mod denial;
mod head;
mod jwks;
mod jwt;
mod key;
mod limit;
mod permit;
mod policy;
mod route;
mod session;
mod time;

pub use check::{Candidate, Check, Proof};
pub use credential::{Token, TokenHash};
pub use denial::{Denial, Outage, Refusal};
pub use head::Head;
pub use jwks::{Algorithm, Jwks, JwksError, KeyFault, VerifyingKey};
pub use jwt::{Claims, UnverifiedHeader, UnverifiedJwt};
pub use key::Keys;
pub use limit::{LIMIT_SCRIPT, LIMIT_SCRIPT_SHA1, Limit, LimitBy};
pub use permit::{Edits, Identity, Permit, Target};
pub use policy::{BaseUrl, ConfigError, Fault, Issuer, LogPolicy, Policy, TokenType};
pub use route::{Access, Mode, Route};
pub use session::{TokenRecord, revoked_before};
pub use time::UnixSeconds;
