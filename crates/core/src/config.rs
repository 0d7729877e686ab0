//! The configuration: strings in, a [`Policy`] out, with all errors reported at once.

mod addresses;
mod assertion;
mod breaker;
mod cors;
mod edge_auth;
mod error;
mod failure_limit;
mod identity_fields;
mod issuers;
mod key_sets;
mod limits;
mod object;
mod observability;
mod record_encryption;
mod routes;
mod settings;
mod store;
mod suffixes;
mod timeouts;
mod unknown;
mod warnings;

#[cfg(test)]
pub(crate) mod fixtures;

pub use error::{ConfigError, ConfigErrorKind};

use crate::policy::Policy;
use crate::policy::identity::IdentityFields;
use crate::policy::issuer::Issuer;
use crate::policy::limit::{Limit, LimitBy};
use crate::policy::route::{Route, StoreOutage};
use settings::SettingsReader;

impl Policy {
    /// Parses the configuration. `lookup` returns a setting's text by its name.
    pub fn parse(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<ConfigError>> {
        Self::read(&[], &lookup)
    }

    /// Parses the configuration as [`Policy::parse`] does. Of the variables' `names`, those that seem
    /// to mean a setting are errors, too.
    pub fn parse_named(
        names: &[String],
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        Self::read(names, &lookup)
    }

    fn read(
        names: &[String],
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut settings = SettingsReader::new(lookup);
        let cors = cors::read(&mut settings);
        let assertion = assertion::read(&mut settings);
        let issuers = issuers::read(&mut settings);
        let limits = limits::read(&mut settings);
        let routes =
            routes::read(&mut settings, cors.as_ref(), assertion.is_some(), &limits, &issuers);
        check_introspection(&mut settings, &issuers, &routes);
        let (upstream, auth) = (settings.url("UPSTREAM_URL"), settings.url("AUTH_URL"));
        let edge_auth_key = edge_auth::read(&mut settings);
        let store = store::address(&mut settings);
        let assertion_field = assertion.as_ref().map(|assertion| &assertion.field);
        let identity_fields = identity_fields::read(&mut settings, assertion_field, &issuers);
        let resource = match settings.optional("RESOURCE_URL") {
            Some(_) => settings.url("RESOURCE_URL"),
            None => None,
        };
        let other_claims = other_claims(&identity_fields, &routes);
        let keys = store::keys(&mut settings);
        let revocation_seconds_max = settings.number("REVOCATION_SECONDS_MAX", 0, 0, 86_400);
        let timeouts = timeouts::read(&mut settings);
        let refresh_replay_seconds = settings.number("REFRESH_REPLAY_SECONDS", 10, 0, 60);
        let key_sets = key_sets::read(&mut settings);
        let introspections_per_second_max =
            settings.number("INTROSPECTIONS_PER_SECOND_MAX", 50, 1, 100_000);
        let open_requests_max = settings.number("OPEN_REQUESTS_MAX", 4_000, 1, 1_000_000);
        let open_requests_bytes_max =
            settings.number("OPEN_REQUESTS_BYTES_MAX", 16_777_216, 262_144, u32::MAX);
        let auth_body_bytes_max = settings.number("AUTH_BODY_BYTES_MAX", 16_384, 1, 1_048_576);
        let seal = record_encryption::read(&mut settings);
        let addresses = addresses::read(&mut settings);
        let trusted_proxies = settings.number("TRUSTED_PROXIES", 0, 0, 10);
        let failure_limit = failure_limit::read(&mut settings);
        let breaker = breaker::read(&mut settings);
        let breakers_shared = settings.flag("BREAKERS_SHARED");
        let observability = observability::read(&mut settings);
        unknown::check(&mut settings, names);
        let warnings = warnings::of(&issuers, &routes, upstream.as_ref());
        match (upstream, auth, store) {
            (Some(upstream), Some(auth), Some(store)) if settings.errors.is_empty() => Ok(Self {
                issuers,
                routes,
                upstream,
                auth,
                edge_auth_key,
                store,
                keys,
                revocation_seconds_max,
                timeouts,
                key_sets,
                refresh_replay_seconds,
                introspections_per_second_max,
                open_requests_max,
                open_requests_bytes_max,
                auth_body_bytes_max,
                identity_fields,
                assertion,
                cors,
                resource,
                other_claims,
                seal,
                addresses,
                trusted_proxies,
                failure_limit,
                breaker,
                breakers_shared,
                observability,
                warnings,
            }),
            _ => Err(settings.errors),
        }
    }
}

/// Adds an error if a route uses introspection during a store outage, and no issuer has one.
fn check_introspection(settings: &mut SettingsReader<'_>, issuers: &[Issuer], routes: &[Route]) {
    let used = routes.iter().any(|route| route.on_store_outage == StoreOutage::Introspect);
    if used
        && !settings.has_error("ISSUERS")
        && issuers.iter().all(|issuer| issuer.introspection.is_none())
    {
        settings.add_error("ROUTES: on_store_outage", ConfigErrorKind::NoIntrospection);
    }
}

/// Returns the claims that identity fields, routes and limits use.
fn other_claims(identity_fields: &IdentityFields, routes: &[Route]) -> Vec<String> {
    let mut claims: Vec<String> = identity_fields.claims().map(str::to_owned).collect();
    let of_limit = |limit: &Limit| {
        let by = limit.by.iter().filter_map(|by| match by {
            LimitBy::Claim(name) => Some(name.clone()),
            _ => None,
        });
        let plans = limit.plans.iter().map(|plans| plans.claim.clone());
        by.chain(plans).collect::<Vec<_>>()
    };
    for route in routes {
        let required = route.claims.iter().map(|(name, _)| name.clone());
        for name in required.chain(route.limits.iter().flat_map(of_limit)) {
            if !claims.contains(&name) {
                claims.push(name);
            }
        }
    }
    claims
}

#[cfg(test)]
mod tests;
