//! The policy of Portcullis: pure functions from a request's head and the store's replies to a verdict.
//!
//! The way of a request, in the order of the calls:
//!
//! 1. [`Policy::destination`], then [`Check::new`]: the route and the request's one token. No I/O, no key.
//! 2. [`Check::candidate`]: form, header, claims and times of the token. The host verifies a signature
//!    with the key that [`Jwks::select`] chose, or asks the store or a provider about an opaque token, and
//!    says so to [`Check::accept_signature`] or [`Check::accept_record`]. What somebody vouched for may be
//!    remembered; [`Check::prove`] turns it into a [`AuthenticatedRequest`] for this request.
//! 3. [`Check::commands`]: everything that the verdict needs from the store, for one round trip.
//! 4. [`Check::decide`]: from the replies to a [`Permit`], or to a [`Refusal`] that says why.
//!
//! A [`Permit`] is the only value that lets a request be forwarded, and only step 4 makes one.
//!
//! Nothing here does I/O, reads a clock or the environment, or waits: time is an argument
//! ([`UnixSeconds`]), and so is an outage.

mod assertion;
mod breaker;
mod cache;
mod check;
mod claims;
mod config;
mod credential;
mod introspection;
mod jose;
mod json;
mod jwt;
mod limit;
mod marker;
mod permit;
mod policy;
mod refresh;
mod refusal;
mod replay;
mod request;
mod routing;
mod secret;
mod session;
mod store;
mod time;
mod token_hash;
mod url;

pub use breaker::{Breaker, BreakerPolicy, BreakerState, CallPermit, CircuitOpen};
pub use cache::GenerationalCache;
pub use check::{
    AuthenticatedRequest, Check, Missing, Provider, StoreResult, UnverifiedToken, VerifiedToken,
};
pub use config::{ConfigError, ConfigErrorKind};
pub use credential::Token;
pub use introspection::IntrospectionRequest;
pub use jose::algorithm::Algorithm;
pub use jose::header::UnverifiedHeader;
pub use jose::jwks::{Jwks, JwksError, KeyFault, KeySource, VerifyingKey};
pub use jwt::UnverifiedJwt;
pub use limit::{
    BucketKey, LIMIT_SCRIPT, LIMIT_SCRIPT_SHA1, LimitCheck, LimitDecision, LocalCounts,
};
pub use permit::{Degraded, HeaderEdits, Permit, TOUCH_SCRIPT, Target};
pub use policy::addresses::{Addresses, Network};
pub use policy::assertion::Assertion;
pub use policy::cors::Cors;
pub use policy::identity::IdentityFields;
pub use policy::introspection::{ClientAuth, Introspection};
pub use policy::issuer::{Issuer, KeyLocation, MetadataError, TokenType};
pub use policy::limit::{
    Algorithm as LimitAlgorithm, FailureLimit, Limit, LimitBy, LimitOutage, LimitTiming, Plans,
};
pub use policy::path::Pattern;
pub use policy::route::{Access, Endpoint, Route, StoreOutage, TokenRequirement};
pub use policy::{LogPolicy, Policy};
pub use refresh::{CapturedResponse, LeaseState, Refresh, Revocation};
pub use refusal::{Denial, Outage, Refusal};
pub use replay::ReplayKey;
pub use request::client_address::address_group;
pub use request::cookie::REFRESH_COOKIE;
pub use request::head::RequestHead;
pub use routing::preflight::Fields;
pub use routing::well_known::metadata_url;
pub use routing::{Answer, Destination};
pub use secret::Secret;
pub use session::{TokenRecord, revoked_before};
pub use store::address::StoreAddress;
pub use store::keys::StoreKeys;
pub use store::seal::Seal;
pub use time::UnixSeconds;
pub use token_hash::TokenHash;
pub use url::BaseUrl;
