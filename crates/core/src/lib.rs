//! The policy of Portcullis: pure functions from a request and the store's replies to a verdict.
//!
//! # The steps of a request
//!
//! 1. [`Policy::destination`] finds the route, and [`Check::new`] reads the request's one token.
//! 2. [`Check::unverified_token`] checks the token's form, header, claims and times. The host
//!    verifies the signature by the key that [`Jwks::select`] returns, or queries the store or a
//!    provider about an opaque token or an API key. It passes the result to
//!    [`Check::accept_signature`], [`Check::accept_record`] or [`Check::accept_key`]. The
//!    [`VerifiedToken`] may be cached.
//! 3. [`Check::authenticate`] turns it into an [`AuthenticatedRequest`] of this request.
//! 4. [`Check::commands`] returns all the store's commands that the verdict needs, for one round
//!    trip.
//!    [`Check::changed_key`] returns an API key whose record has changed.
//! 5. [`Check::decide`] turns the replies into a [`Permit`], or a [`Refusal`] with its reason.
//!
//! Only a [`Permit`] lets a request be forwarded, and only step 5 creates one.
//!
//! Core does no I/O, reads no clock and no environment, and never waits. Time is an argument
//! ([`UnixSeconds`]), and so is an [`Outage`].
//!
//! # Example
//!
//! ```
//! use base64::Engine as _;
//! use base64::engine::general_purpose::URL_SAFE_NO_PAD;
//! use portcullis_core::{
//!     Check, Denial, Destination, Policy, Refusal, RequestHead, StoreResult, UnixSeconds,
//!     UnverifiedToken,
//! };
//! use redis_rest::Reply;
//!
//! /// Returns the URL to forward a request to, or the reason for its refusal.
//! fn handle(policy: &Policy, head: &RequestHead<'_>, now: UnixSeconds) -> Result<String, Refusal> {
//!     let Destination::Route(route) = policy.destination(head)? else {
//!         return Ok("the edge answers itself".to_owned());
//!     };
//!     let check = Check::new(head, route, policy)?;
//!     let authenticated = match check.token_hash() {
//!         None => check.without_token()?,
//!         Some(_) => {
//!             let UnverifiedToken::Jwt(jwt) = check.unverified_token(now)? else {
//!                 return Err(Denial::TokenMalformed.into());
//!             };
//!             // The host verifies `jwt.signature()` of `jwt.signing_input()`.
//!             let verified = check.accept_signature(jwt, true)?;
//!             check.authenticate(verified, None, now)?
//!         }
//!     };
//!     // The host sends the commands to the store, which has no marker for this token.
//!     let commands = check.commands(&authenticated);
//!     let no_markers = |keys| StoreResult::Reply(Reply::Array(vec![Reply::Null; keys]));
//!     let results: Vec<_> = commands.iter().map(|it| no_markers(it.words().len() - 1)).collect();
//!     let permit = check.decide(&authenticated, &results)?;
//!     let edits = permit.header_edits(head, "0af76519-16cd-43dd-8448-eb211c80319c");
//!     Ok(format!("{:?} with {} new fields", permit.target(), edits.set.len()))
//! }
//!
//! // The policy file, as JSON. Its secrets come from elsewhere.
//! let document = r#"{
//!     "store": { "url": "https://store.example" },
//!     "upstream": { "url": "https://upstream.example" },
//!     "issuers": [{ "issuer": "https://issuer.example", "audience": "api",
//!         "algorithms": ["EdDSA"], "jwks_url": "https://issuer.example/jwks" }],
//!     "routes": [{ "name": "api", "path": "/api/*", "access": "protected",
//!         "require": "not_revoked" }]
//! }"#;
//! let policy = Policy::parse(document, |name| (name == "STORE_TOKEN").then(|| "secret".into()));
//! let policy = policy.expect("the configuration has no errors");
//!
//! let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
//! let header = part(r#"{"alg":"EdDSA","typ":"at+jwt"}"#);
//! let claims = part(
//!     r#"{"iss":"https://issuer.example","aud":"api","sub":"alice","exp":1700000900}"#,
//! );
//! let authorization = format!("Bearer {header}.{claims}.{}", part("a signature"));
//!
//! let now = UnixSeconds(1_700_000_000);
//! let fields = vec![("authorization", authorization.as_str())];
//! let with_token = RequestHead::new("GET", "https://api.example/api/orders", fields);
//! let permitted = handle(&policy, &with_token, now).expect("the token is valid");
//! assert!(permitted.starts_with(r#"Upstream(BaseUrl("https://upstream.example"))"#));
//!
//! let without = RequestHead::new("GET", "https://api.example/api/orders", Vec::new());
//! let refused = handle(&policy, &without, now);
//! assert_eq!(refused, Err(Refusal::Denied(Denial::TokenMissing)));
//! ```
//!
//! # Layers
//!
//! A module imports only from the layers below it, or from its own folder. `config` and `token`
//! never import each other, and neither do `routing`, `limits` and `refresh`.
//!
//! 1. Values: `refusal`, `json`, `time`, `url`, `secret`, `token_hash`, `breaker`, `cache`, and
//!    `request`.
//! 2. `edge_auth`, `jose` and `store`.
//! 3. `metrics`, and `policy`: plain types and look-ups, without settings and claims.
//! 4. `config`, which reads the settings, and `token`.
//! 5. `routing`, `limits` and `refresh`.
//! 6. `events` and `usage`.
//! 7. `forward`.
//! 8. `check`.

mod breaker;
mod cache;
mod check;
mod config;
mod edge_auth;
mod events;
mod forward;
#[cfg(test)]
mod golden;
mod jose;
mod json;
mod limits;
mod metrics;
mod policy;
mod refresh;
mod refusal;
mod request;
mod routing;
mod secret;
mod store;
mod time;
mod token;
mod token_hash;
mod url;
mod usage;

pub use breaker::{Breaker, BreakerPolicy, BreakerState, CallPermit, CircuitOpen};
pub use cache::{CacheKey, GenerationalCache};
pub use check::Check;
pub use check::authenticated::AuthenticatedRequest;
pub use check::renewal::{Renewal, RenewedToken};
pub use check::store_result::{Missing, StoreResult};
pub use config::{
    ConfigError, ConfigErrorKind, MemberShape, PolicyMember, TextFormat, merge_sections,
};
pub use edge_auth::{
    EDGE_ADDRESS_FIELD, EDGE_AUTH_FIELD, EdgeAuthError, EdgeAuthKey, EdgeAuthKeys, EdgeStatement,
};
pub use events::marks::REVOKE_SCRIPT;
pub use events::parse::{Event, UnverifiedEvent};
pub use events::recent::{EventArrival, RecentEvents};
pub use events::request::EventRequest;
pub use forward::headers::HeaderEdits;
pub use forward::permit::{Degraded, Permit, Target};
pub use forward::session::TOUCH_SCRIPT;
pub use forward::stream::{StreamBounds, StreamEnd};
pub use jose::algorithm::Algorithm;
pub use jose::header::UnverifiedHeader;
pub use jose::jwks::{Jwks, JwksError, KeyFault, KeySource, VerifyingKey};
pub use json::object as json_object;
pub use json::write::{object_text as json_object_text, text as json_text};
pub use limits::check::{BucketKey, LimitCheck, LimitDecision, refusal_by_limits};
pub use limits::key::limit_key_text;
pub use limits::lease::{Granted, LeaseKey, LeaseTerms, Leases, Spend};
pub use limits::local::{LocalCount, LocalCounts, LocalRate};
pub use limits::owed::OwedUntil;
pub use limits::periods::{PeriodUse, PeriodUses};
pub use limits::restore::{KnownUse, RESTORE_SCRIPT, USED_MAX, restore_command};
pub use limits::script::{
    COUNTING_SCRIPTS, CountingScript, KEY_LOCKING, LIMIT_SCRIPT, LIMIT_SCRIPT_SHA1,
    LOCKING_LIMIT_SCRIPT_SHA1, LOCKING_QUOTA_SCRIPT_SHA1, QUOTA_SCRIPT, QUOTA_SCRIPT_SHA1,
};
pub use metrics::histograms::{HISTOGRAM_BOUNDS, histogram_bounds_ms, histogram_counters};
pub use metrics::refusals::{RefusalSample, RefusedRequest};
pub use metrics::samples::{METRICS_UNREADABLE, format_samples, read_counters};
pub use metrics::totals::{
    TOTALS_SCRIPT, add_up_counters, are_totals_due, push_counters, read_totals,
};
pub use policy::Policy;
pub use policy::assertion::Assertion;
pub use policy::blocked_networks::BlockedNetworks;
pub use policy::cors::Cors;
pub use policy::events::{EventFormat, EventPolicy, LogoutEnds};
pub use policy::identity::IdentityFields;
pub use policy::introspection::{ClientAuth, Introspection};
pub use policy::ip_rules::{Choice, IpRules, Network};
pub use policy::issuer::{AudienceClaim, Issuer, KeyLocation, MetadataError, TokenType};
pub use policy::key_sets::KeySetPolicy;
pub use policy::limit::{
    Algorithm as LimitAlgorithm, InvalidTokenLimit, Limit, LimitBy, LimitOutage, LimitTiming,
    Period, Plans,
};
pub use policy::observability::{LogPolicy, LogSubject, Observability};
pub use policy::operator::{OperatorEndpoints, PolicyDocument};
pub use policy::path::Pattern;
pub use policy::requirements::Requirements;
pub use policy::resource::{Audiences, Resource};
pub use policy::route::{Access, Endpoint, Route, StoreOutage, Suffixes, TokenRequirement};
pub use policy::timeouts::Timeouts;
pub use policy::warning::ConfigWarning;
pub use refresh::lease::{LeaseState, Refresh};
pub use refresh::replay_key::ReplayKey;
pub use refresh::response::CapturedResponse;
pub use refresh::revocation::Revocation;
pub use refusal::status::Challenge;
pub use refusal::{Denial, Outage, Refusal};
pub use request::client_address::{address_group, client_address, client_group, forwarded_address};
pub use request::cookie::{CONSOLE_COOKIE, REFRESH_COOKIE};
pub use request::head::RequestHead;
pub use request::location::{Country, Location};
pub use routing::index::RouteIndex;
pub use routing::operator::OperatorRequest;
pub use routing::preflight::Fields;
pub use routing::{Answer, Destination};
pub use secret::Secret;
pub use store::address::StoreAddress;
pub use store::keys::StoreKeys;
pub use store::seal::Seal;
pub use time::{UnixMillis, UnixSeconds};
pub use token::api_key::{self, KeyTerms};
pub use token::bearer::Token;
pub use token::blocks::BlockKind;
pub use token::claims::Claims;
pub use token::introspection::IntrospectionRequest;
pub use token::jwt::UnverifiedJwt;
pub use token::received::ReceivedClaims;
pub use token::record::TokenRecord;
pub use token::revocation::{RevocationMarker, revoked_before};
pub use token::unverified::{Provider, UnverifiedKey, UnverifiedToken};
pub use token::verified::VerifiedToken;
pub use token_hash::TokenHash;
pub use url::BaseUrl;
pub use usage::batch::{PeriodUsage, UsageBatch};
pub use usage::counts::{Usage, UsageCounts, UsageRow};
