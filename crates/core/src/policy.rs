//! The configuration: strings in, types out, once, with all faults reported together.

mod error;
mod issuers;
mod limits;
mod members;
mod reader;
mod routes;

pub use error::{ConfigError, ConfigErrorKind};
pub(crate) use members::ObjectReader;
pub(crate) use reader::SettingsReader;

use crate::address::Addresses;
use crate::assertion::Assertion;
use crate::breaker::BreakerPolicy;
use crate::cors::{self, Cors, Fields};
use crate::refusal::Denial;
use crate::document;
use crate::issuer::Issuer;
use crate::store::keys::StoreKeys;
use crate::limit::{Limit, LimitBy};
use crate::permit::IdentityFields;
use crate::request::head::RequestHead;
use crate::route::{self, Access, Route, StoreOutage};
use crate::store::seal::Seal;
use crate::store::address::StoreAddress;
use crate::url::BaseUrl;

/// Everything that the edge was told, checked.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The issuers whose tokens are accepted, side by side.
    pub issuers: Vec<Issuer>,
    /// The routes; the first that matches wins.
    pub routes: Vec<Route>,
    /// Where requests go whose route names no upstream of its own.
    pub upstream: BaseUrl,
    /// The auth service.
    pub auth: BaseUrl,
    /// Where the store is.
    pub store: StoreAddress,
    /// The store's keys.
    pub keys: StoreKeys,
    /// The longest that a revoked token may go on working; 0: the store is asked each time. Whatever is
    /// kept of a verdict is kept for no longer.
    pub revocation_seconds_max: u32,
    /// How long one round trip to the store may take.
    pub store_deadline_ms: u32,
    /// How long the auth service may take to answer.
    pub auth_deadline_ms: u32,
    /// How long an upstream may take to begin its answer.
    pub upstream_deadline_ms: u32,
    /// How long an issuer may take to send its key set.
    pub keys_deadline_ms: u32,
    /// For how long a key set is used without a look.
    pub keys_fresh_seconds: u32,
    /// For how long a key set is used at the most, while its issuer can't be asked.
    pub keys_stale_seconds_max: u32,
    /// Within this, an unknown `kid` is looked for once, and no more than four are.
    pub keys_cool_down_seconds: u32,
    /// How long a provider may take to say whether a token is good.
    pub introspection_deadline_ms: u32,
    /// For how long the answer to a refresh is given again to whoever asks the same; 0: never.
    pub refresh_replay_seconds: u32,
    /// How often one isolate asks providers, per second.
    pub introspections_per_second_max: u32,
    /// Longest request body that goes to the auth service.
    pub auth_body_bytes_max: u32,
    /// The names of the fields that tell an upstream who asks.
    pub identity_fields: IdentityFields,
    /// The signed form of the same, where a route asks for it.
    pub assertion: Option<Assertion>,
    /// Cross-origin requests to no route.
    pub cors: Option<Cors>,
    /// The API's name as a protected resource (RFC 9728).
    pub resource: Option<BaseUrl>,
    /// The claims that routes ask for, beyond those that each verdict needs.
    pub other_claims: Vec<String>,
    /// Which requests are logged.
    pub log: LogPolicy,
    /// What records are sealed with.
    pub seal: Option<Seal>,
    /// Whence requests may come, on routes that do not say so themselves.
    pub addresses: Addresses,
    /// How many proxies in front of the edge are trusted to say who asks; 0: Cloudflare says it.
    pub trusted_proxies: u32,
    /// How many bad tokens an address may try.
    pub failure_limit: Option<FailureLimit>,
    /// When a dependency is left alone.
    pub breaker: BreakerPolicy,
    /// Whether the isolates of one place tell each other what is left alone.
    pub breakers_shared: bool,
    /// Whether answers tell where the time went.
    pub server_timing: bool,
    /// How often an isolate adds what it counted to the store; 0: never.
    pub metrics_seconds: u32,
}

/// How many bad tokens an address may try, in one isolate, before tokens that are not known to be good are
/// refused unseen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FailureLimit {
    /// Bad tokens per window.
    pub quota: u32,
    /// The window.
    pub window_seconds: u32,
    /// It refuses nothing, and tells what it would have refused.
    pub shadow: bool,
}

impl FailureLimit {
    fn read(mut given: ObjectReader<'_, '_>) -> Option<Self> {
        given.need(&["quota", "window_seconds"]);
        let quota = given.number("quota", 1, 1_000_000);
        let window_seconds = given.number("window_seconds", 1, 86_400);
        let shadow = given.flag("shadow");
        Some(Self { quota: quota?, window_seconds: window_seconds?, shadow })
    }
}

/// Where a request goes.
#[derive(Clone, Debug)]
pub enum Destination<'p> {
    /// Nowhere: the edge answers by itself.
    Edge(Answer),
    /// The way of this route.
    Route(&'p Route),
}

/// What the edge answers by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header fields.
    pub fields: Fields,
    /// The body, JSON; empty: none.
    pub body: String,
}

/// Which requests are logged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LogPolicy {
    /// Each one.
    All,
    /// Those that were refused.
    Refused,
}

impl Policy {
    /// Reads the configuration through `lookup`, which returns a variable's text.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<ConfigError>> {
        let mut read = SettingsReader::new(&lookup);
        let cors = read.object("CORS").map(Cors::read);
        let assertion = Assertion::read(&mut read);
        let issuers = read.issuers();
        let limits = read.limits();
        let routes = read.routes(cors.as_ref(), assertion.is_some(), &limits);
        let asks = routes.iter().any(|route| route.on_store_outage == StoreOutage::Introspect);
        if asks
            && !read.has_error("ISSUERS")
            && issuers.iter().all(|issuer| issuer.introspection.is_none())
        {
            read.report("ROUTES: on_store_outage", ConfigErrorKind::NoIntrospection);
        }
        let (upstream, auth) = (read.url("UPSTREAM_URL"), read.url("AUTH_URL"));
        let store = read.store();
        let identity_fields =
            IdentityFields::read(&mut read, assertion.as_ref().map(|own| &own.field));
        let resource = match read.optional("RESOURCE_URL") {
            Some(_) => read.url("RESOURCE_URL"),
            None => None,
        };
        let mut other_claims: Vec<String> = identity_fields.claims().map(str::to_owned).collect();
        let counted = |limit: &Limit| {
            let by = limit.by.iter().filter_map(|by| match by {
                LimitBy::Claim(name) => Some(name.clone()),
                _ => None,
            });
            let plans = limit.plans.iter().map(|plans| plans.claim.clone());
            by.chain(plans).collect::<Vec<_>>()
        };
        for route in &routes {
            let required = route.claims.iter().map(|(name, _)| name.clone());
            for name in required.chain(route.limits.iter().flat_map(counted)) {
                if !other_claims.contains(&name) {
                    other_claims.push(name);
                }
            }
        }
        let keys = read.prefix();
        let revocation_seconds_max = read.number("REVOCATION_SECONDS_MAX", 0, 0, 86_400);
        let store_deadline_ms = read.number("STORE_DEADLINE_MS", 250, 1, 60_000);
        let refresh_replay_seconds = read.number("REFRESH_REPLAY_SECONDS", 10, 0, 60);
        let auth_deadline_ms = read.number("AUTH_DEADLINE_MS", 5_000, 1, 60_000);
        let upstream_deadline_ms = read.number("UPSTREAM_DEADLINE_MS", 30_000, 1, 300_000);
        let keys_deadline_ms = read.number("KEYS_DEADLINE_MS", 2_000, 1, 10_000);
        let keys_fresh_seconds = read.number("KEYS_FRESH_SECONDS", 600, 1, 86_400);
        let keys_stale_seconds_max = read.number("KEYS_STALE_SECONDS_MAX", 86_400, 0, 604_800);
        let keys_cool_down_seconds = read.number("KEYS_COOL_DOWN_SECONDS", 30, 1, 3_600);
        let introspection_deadline_ms = read.number("INTROSPECTION_DEADLINE_MS", 1_000, 1, 60_000);
        let introspections_per_second_max =
            read.number("INTROSPECTIONS_PER_SECOND_MAX", 50, 1, 100_000);
        let auth_body_bytes_max = read.number("AUTH_BODY_BYTES_MAX", 16_384, 1, 1_048_576);
        let log = read.log();
        let seal = read.seal();
        let addresses = read.object("ADDRESSES").map(Addresses::read).unwrap_or_default();
        let trusted_proxies = read.number("TRUSTED_PROXIES", 0, 0, 10);
        let failure_limit = read.object("FAILURE_LIMIT").and_then(FailureLimit::read);
        let breaker = BreakerPolicy {
            failures: read.number("BREAKER_FAILURES", 5, 0, 1_000),
            pause_ms_max: read.number("BREAKER_PAUSE_MS_MAX", 30_000, 1, 300_000),
        };
        let breakers_shared = read.flag("BREAKERS_SHARED");
        let server_timing = read.flag("SERVER_TIMING");
        let metrics_seconds = read.number("METRICS_SECONDS", 0, 0, 3_600);
        if metrics_seconds > 0 && !read.has_scripts() {
            read.report("METRICS_SECONDS", ConfigErrorKind::NotWithMemcached);
        }
        match (upstream, auth, store) {
            (Some(upstream), Some(auth), Some(store)) if read.errors.is_empty() => Ok(Self {
                issuers,
                routes,
                upstream,
                auth,
                store,
                keys,
                revocation_seconds_max,
                store_deadline_ms,
                auth_deadline_ms,
                refresh_replay_seconds,
                upstream_deadline_ms,
                keys_deadline_ms,
                keys_fresh_seconds,
                keys_stale_seconds_max,
                keys_cool_down_seconds,
                introspection_deadline_ms,
                introspections_per_second_max,
                auth_body_bytes_max,
                identity_fields,
                assertion,
                cors,
                resource,
                other_claims,
                log,
                seal,
                addresses,
                trusted_proxies,
                failure_limit,
                breaker,
                breakers_shared,
                server_timing,
                metrics_seconds,
            }),
            _ => Err(read.errors),
        }
    }

    /// Where a request goes.
    pub fn destination(&self, head: &RequestHead<'_>) -> Result<Destination<'_>, Denial> {
        if let Some(body) = document::of(self, head) {
            let fields = vec![
                ("content-type", "application/json".to_owned()),
                ("cache-control", "public, max-age=300".to_owned()),
                // RFC 9728 section 3.2: clients of every origin need it, and it holds nothing of anybody's.
                ("access-control-allow-origin", "*".to_owned()),
            ];
            return Ok(Destination::Edge(Answer { status: 200, fields, body }));
        }
        let Some(asked) = cors::asked_method(head) else {
            return route::find(&self.routes, head, head.method()).map(Destination::Route);
        };
        let cors = match route::find(&self.routes, head, asked) {
            // Whoever the request is for has rules of its own, and is open to everybody anyway.
            Ok(route) if route.cors.is_none() && route.access != Access::Protected => {
                return Ok(Destination::Route(route));
            }
            Ok(route) => route.cors.as_ref(),
            Err(Denial::RouteNotFound) if self.cors.is_some() => self.cors.as_ref(),
            Err(denial) => return Err(denial),
        };
        let fields = cors.map(|cors| cors.preflight(head)).unwrap_or_default();
        Ok(Destination::Edge(Answer { status: 204, fields, body: String::new() }))
    }

    /// The CORS policy of a route, or of a request that takes none.
    pub fn cors<'p>(&'p self, route: Option<&'p Route>) -> Option<&'p Cors> {
        route.map_or(self.cors.as_ref(), |route| route.cors.as_ref())
    }
}

/// Whether a name can stand in a key of the store and in a log line as it is.
fn is_safe_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

#[cfg(test)]
pub(crate) mod tests;
