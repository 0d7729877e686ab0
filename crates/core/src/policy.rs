//! The policy: the configuration as plain types and look-ups. It does not depend on settings or
//! claims.

pub(crate) mod assertion;
pub(crate) mod blocked_networks;
pub(crate) mod cors;
pub(crate) mod events;
pub(crate) mod identity;
pub(crate) mod introspection;
pub(crate) mod ip_rules;
pub(crate) mod issuer;
pub(crate) mod key_sets;
pub(crate) mod limit;
pub(crate) mod observability;
pub(crate) mod operator;
pub(crate) mod path;
pub(crate) mod requirements;
pub(crate) mod resource;
pub(crate) mod route;
pub(crate) mod tenants;
pub(crate) mod timeouts;
pub(crate) mod warning;

#[cfg(test)]
pub(crate) mod fixtures;

use crate::breaker::BreakerPolicy;
use crate::edge_auth::EdgeAuthKey;
use crate::store::address::StoreAddress;
use crate::store::keys::StoreKeys;
use crate::store::seal::Seal;
use crate::url::{BaseUrl, binding};
use assertion::Assertion;
use cors::Cors;
use events::EventPolicy;
use identity::IdentityFields;
use ip_rules::IpRules;
use issuer::{Issuer, KeyLocation};
use key_sets::KeySetPolicy;
use limit::InvalidTokenLimit;
use observability::Observability;
use operator::{OperatorEndpoints, PolicyDocument};
use resource::Resource;
use route::Route;
use timeouts::Timeouts;
use warning::ConfigWarning;

/// The whole configuration of the edge, validated.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The issuers whose tokens are accepted.
    pub issuers: Vec<Issuer>,
    /// The rules for the events that issuers push.
    pub events: Vec<EventPolicy>,
    /// The routes; the first that matches wins.
    pub routes: Vec<Route>,
    /// The upstream of routes that name none.
    pub upstream: BaseUrl,
    /// The auth service; `None` only if no route leads to it.
    pub auth: Option<BaseUrl>,
    /// The key that authenticates the edge to the auth service, if any.
    pub edge_auth_key: Option<EdgeAuthKey>,
    /// The address of the store.
    pub store: StoreAddress,
    /// The store's keys.
    pub keys: StoreKeys,
    /// The longest time that a revoked token may still be accepted, 0 to 86,400 s. It bounds every
    /// cached verdict. With 0 the store is queried for each request.
    pub revocation_delay_seconds_max: u32,
    /// How long the edge waits for its dependencies.
    pub timeouts: Timeouts,
    /// How issuers' key sets are cached.
    pub key_sets: KeySetPolicy,
    /// How long a refresh's response is returned again for the same request, 0 to 60 s; with 0
    /// never.
    pub refresh_replay_seconds: u32,
    /// The most introspections per second of one isolate, 1 to 100,000.
    pub introspections_per_second_max: u32,
    /// The most requests that an isolate has open at once, 1 to 1,000,000.
    pub open_requests_max: u32,
    /// The most bytes of heads and bodies that these hold together, at least 262,144.
    pub open_requests_bytes_max: u32,
    /// The longest request body that is forwarded to the auth service, 1 to 1,048,576 bytes.
    pub auth_body_bytes_max: u32,
    /// The names of the header fields that identify the caller to an upstream.
    pub identity_fields: IdentityFields,
    /// How assertions are signed, for routes that require one.
    pub assertion: Option<Assertion>,
    /// The CORS policy of requests that match no route.
    pub cors: Option<Cors>,
    /// The name as a protected resource (RFC 9728) of the API whose routes name no resource.
    pub resource: Option<BaseUrl>,
    /// The protected resources that routes name.
    pub resources: Vec<Resource>,
    /// The places of the claims that routes, limits and identity fields use, beyond those that are
    /// always read.
    pub other_claims: Vec<String>,
    /// The encryption of the store's records.
    pub seal: Option<Seal>,
    /// The address rules of routes that have none.
    pub ip_rules: IpRules,
    /// How often the list of blocked networks is fetched, in seconds, 0 to 3,600; with 0 never.
    pub block_refresh_seconds: u32,
    /// Whether a rule or a limit needs the client's location.
    pub needs_location: bool,
    /// How many proxies in front of the edge are trusted to state the client's address, 0 to 10.
    /// With 0, Cloudflare states it.
    pub trusted_proxy_hops: u32,
    /// The limit of invalid tokens per client address.
    pub invalid_token_limit: Option<InvalidTokenLimit>,
    /// When circuit breakers open.
    pub breaker: BreakerPolicy,
    /// Whether the isolates of one location share the state of their breakers.
    pub breakers_shared: bool,
    /// Logs, timings and metrics.
    pub observability: Observability,
    /// The endpoints for operators.
    pub operator_endpoints: OperatorEndpoints,
    /// The policy as operators may see it; `None` where it is not shown.
    pub document: Option<PolicyDocument>,
    /// The names of the risks that the operator accepts.
    pub accepted_risks: Vec<String>,
    /// The warnings about the configuration, accepted or not.
    pub warnings: Vec<ConfigWarning>,
}

impl Policy {
    /// Returns the warnings that the operator has not accepted.
    pub fn open_warnings(&self) -> impl Iterator<Item = &ConfigWarning> {
        self.warnings.iter().filter(|warning| !self.accepted_risks.contains(&warning.name()))
    }

    /// Returns the names of the Worker's bindings that requests are sent to, with a place in the
    /// policy that names each.
    pub fn bindings(&self) -> Vec<(String, &str)> {
        let mut found = vec![("upstream.url".to_owned(), Some(self.upstream.as_str()))];
        found.push(("auth.url".to_owned(), self.auth.as_ref().map(BaseUrl::as_str)));
        for (at, route) in self.routes.iter().enumerate() {
            let upstream = route.upstream.as_ref().map(BaseUrl::as_str);
            found.push((format!("routes[{at}].upstream (route {})", route.name), upstream));
        }
        for (at, issuer) in self.issuers.iter().enumerate() {
            if let Some(KeyLocation::Url(url)) = &issuer.keys {
                found.push((format!("issuers[{at}].jwks_url"), Some(url)));
            }
            let introspection = issuer.introspection.as_ref();
            let url = introspection.map(|introspection| introspection.url.as_str());
            found.push((format!("issuers[{at}].introspection.url"), url));
        }
        for events in &self.events {
            let keys = events.keys.as_ref().and_then(|issuer| issuer.keys.as_ref());
            if let Some(KeyLocation::Url(url)) = keys {
                found.push((format!("issuers[{}].events.jwks_url", events.issuer), Some(url)));
            }
        }
        found.into_iter().filter_map(|(place, url)| Some((place, binding(url?)?))).collect()
    }

    /// Returns the issuer whose keys are in the key set at `place`. Those of the issuers come
    /// first, then those that sign their events.
    pub fn key_owner(&self, place: usize) -> Option<&Issuer> {
        match place.checked_sub(self.issuers.len()) {
            None => self.issuers.get(place),
            Some(place) => self.events.get(place)?.keys.as_ref(),
        }
    }

    /// Returns the URL of a route's protected resource, if it has one.
    pub fn resource_url(&self, route: Option<&Route>) -> Option<&BaseUrl> {
        match route.and_then(|route| route.resource) {
            Some(place) => self.resources.get(place).map(|resource| &resource.url),
            None => self.resource.as_ref(),
        }
    }

    /// Returns the CORS policy of a route, or of requests that match no route.
    pub fn cors<'p>(&'p self, route: Option<&'p Route>) -> Option<&'p Cors> {
        route.map_or(self.cors.as_ref(), |route| route.cors.as_ref())
    }
}
