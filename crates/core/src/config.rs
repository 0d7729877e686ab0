//! The configuration: a policy file and variables in, a [`Policy`] out, with all errors reported at
//! once.

mod assertion;
mod bounds;
mod cors;
mod dependencies;
mod document;
mod edge_auth;
mod error;
mod events;
mod identity;
mod invalid_token_limit;
mod ip_rules;
mod issuer_names;
mod issuers;
mod limits;
mod object;
mod observability;
mod one_or_more;
mod record;
mod record_encryption;
mod requirements;
mod resources;
mod routes;
mod settings;
mod shown;
mod store;
mod suffixes;
mod unknown;
mod warnings;

#[cfg(test)]
pub(crate) mod fixtures;

pub use document::merge as merge_sections;
pub use error::{ConfigError, ConfigErrorKind};
pub use record::{MemberShape, PolicyMember, TextFormat};

use crate::policy::Policy;
use crate::policy::identity::IdentityFields;
use crate::policy::ip_rules::IpRules;
use crate::policy::issuer::Issuer;
use crate::policy::limit::LimitBy;
use crate::policy::route::{ACR, AUTH_TIME, Access, Route, StoreOutage};
use crate::policy::timeouts::Timeouts;
use routes::Named;
use settings::SettingsReader;

impl Policy {
    /// Parses a policy file, given as JSON (RFC 8259, no member twice). `lookup` returns a variable
    /// or secret by its name.
    ///
    /// # Errors
    ///
    /// All errors of the file, its variables and its secrets, in the order in which they are read.
    pub fn parse(
        document: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        Self::parse_named(document, &[], lookup)
    }

    /// Parses a policy as [`Policy::parse`] does. Of the variables' `names`, those that seem to
    /// mean a secret or variable of the policy are errors, too.
    ///
    /// # Errors
    ///
    /// Those of [`Policy::parse`], and one for each misspelt name.
    pub fn parse_named(
        document: &str,
        names: &[String],
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        read(document, &Variables { names, lookup: &lookup, assumes: false })
    }

    /// Parses a policy before its variables and secrets are all known: those that `lookup` does not
    /// return are assumed to be right. The policy is for checks, and not for requests.
    ///
    /// # Errors
    ///
    /// Those of [`Policy::parse`], without the errors of assumed values.
    pub fn assume(
        document: &str,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        Self::assume_named(document, &[], lookup)
    }

    /// The same for a Worker that is known to have variables of these names.
    ///
    /// # Errors
    ///
    /// Those of [`Policy::parse`], without the errors of assumed values.
    pub fn assume_named(
        document: &str,
        names: &[String],
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Vec<ConfigError>> {
        read(document, &Variables { names, lookup: &lookup, assumes: true })
    }

    /// Returns the sections and members that a policy file may have, sorted by their places.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn members() -> Vec<PolicyMember> {
        let variables = Variables { names: &[], lookup: &|_| None, assumes: true };
        let of = |document| record::members(|| drop(read(document, &variables)));
        let mut members = of(EVERY_TABLE);
        // A section is required if an empty file lacks its members.
        for missing in of("{}").iter().filter(|member| member.is_required) {
            let section = missing.place.split('.').next();
            let section = members.iter_mut().find(|own| Some(own.place.as_str()) == section);
            section.into_iter().for_each(|section| section.is_required = true);
        }
        members
    }
}

/// A policy file with each table that has members of its own, so that the readers ask for these.
#[cfg(not(target_arch = "wasm32"))]
const EVERY_TABLE: &str = r#"{"issuers":[{"events":{},"introspection":{}}],"limits":[{"plans":{}}],
    "routes":[{"limit":{"plans":{}},"cors":{},"ip_rules":{}}],"cors":{},"ip_rules":{},"identity":{},
    "assertion":{},"resource":{},"resources":[{}],"invalid_token_limit":{}}"#;

/// The variables and secrets.
struct Variables<'v> {
    /// The names of all that are set.
    names: &'v [String],
    lookup: &'v dyn Fn(&str) -> Option<String>,
    /// Whether those that are missing are assumed to be right.
    assumes: bool,
}

fn read(document: &str, variables: &Variables<'_>) -> Result<Policy, Vec<ConfigError>> {
    let environment = (variables.lookup)(document::ENVIRONMENT);
    let sections = document::sections(document, environment.as_deref());
    let sections = sections.map_err(|error| vec![error])?;
    let mut settings = SettingsReader::new(sections, variables.lookup, variables.assumes);
    let shown = settings.sections_if("metrics", "health");
    let cors = cors::read(&mut settings);
    let has_assertion = settings.has("assertion");
    let assertion = assertion::read(&mut settings);
    let (mut issuers, events) = events::read_with_issuers(&mut settings);
    let limits = limits::read(&mut settings);
    let resource = resources::single(&mut settings);
    let resources = resources::read(&mut settings, resource.as_ref());
    let named = Named { limits: &limits, issuers: &issuers, resources: &resources };
    let routes = routes::read(&mut settings, cors.as_ref(), has_assertion, &named);
    resources::assign(&mut issuers, &routes, &resources);
    check_introspection(&mut settings, &issuers, &routes);
    events::check(&mut settings, &events, &issuers, &routes);
    let upstream = dependencies::upstream(&mut settings);
    let needs_auth = routes.iter().any(|route| route.access == Access::Auth);
    let auth = dependencies::auth(&mut settings, needs_auth);
    let edge_auth_key = edge_auth::read(&mut settings);
    let store = store::read(&mut settings);
    let assertion_field = assertion.as_ref().map(|assertion| &assertion.field);
    let identity_fields = identity::read(&mut settings, assertion_field, &issuers);
    check_api_key_headers(&mut settings, &identity_fields, assertion_field, &routes);
    let other_claims = other_claims(&identity_fields, &routes);
    let revocation_delay_seconds_max = bounds::revocation_delay_seconds_max(&mut settings);
    let block_refresh_seconds = bounds::block_refresh_seconds(&mut settings);
    let jwks = dependencies::jwks(&mut settings);
    let introspection = dependencies::introspection(&mut settings);
    let open_requests = bounds::open_requests(&mut settings);
    let seal = record_encryption::read(&mut settings);
    let ip_rules = ip_rules::read(&mut settings);
    let trusted_proxy_hops = bounds::trusted_proxy_hops(&mut settings);
    let needs_location = needs_location(&ip_rules, &routes);
    if needs_location && trusted_proxy_hops > 0 {
        settings.add_error("client_address.trusted_proxy_hops", ConfigErrorKind::HidesLocation);
    }
    let invalid_token_limit = invalid_token_limit::read(&mut settings);
    let breaker = bounds::breaker(&mut settings);
    let (observability, operator_endpoints) = observability::read(&mut settings);
    let accepted_risks = settings.texts("accept");
    settings.finish();
    unknown::check(&mut settings, variables.names);
    let warnings = warnings::of(&issuers, &routes, upstream.url.as_ref());
    let is_shown = observability.metrics_seconds > 0 || operator_endpoints.health_path.is_some();
    let shown = shown.filter(|_| is_shown);
    let document = shown.map(|sections| shown::document(sections, &settings.secrets));
    let errors = settings.into_errors();
    let (Some(upstream_url), Some(store_address)) = (upstream.url, store.address) else {
        return Err(errors);
    };
    if !errors.is_empty() || (needs_auth && auth.url.is_none()) {
        return Err(errors);
    }
    Ok(Policy {
        issuers,
        events,
        routes,
        upstream: upstream_url,
        auth: auth.url,
        edge_auth_key,
        store: store_address,
        keys: store.keys,
        revocation_delay_seconds_max,
        timeouts: Timeouts {
            store_ms: store.timeout_ms,
            auth_ms: auth.timeout_ms,
            upstream_ms: upstream.timeout_ms,
            key_set_ms: jwks.timeout_ms,
            introspection_ms: introspection.timeout_ms,
        },
        key_sets: jwks.key_sets,
        refresh_replay_seconds: auth.refresh_replay_seconds,
        introspections_per_second_max: introspection.per_second_max,
        open_requests_max: open_requests.count_max,
        open_requests_bytes_max: open_requests.bytes_max,
        auth_body_bytes_max: auth.body_bytes_max,
        identity_fields,
        assertion,
        cors,
        resource,
        resources,
        other_claims,
        seal,
        ip_rules,
        block_refresh_seconds,
        needs_location,
        trusted_proxy_hops,
        invalid_token_limit,
        breaker: breaker.policy,
        breakers_shared: breaker.shared,
        observability,
        operator_endpoints,
        document,
        accepted_risks,
        warnings,
    })
}

/// Adds an error for each route whose field of API keys is one of the edge's own.
fn check_api_key_headers(
    settings: &mut SettingsReader<'_>,
    identity_fields: &IdentityFields,
    assertion_field: Option<&String>,
    routes: &[Route],
) {
    for (at, route) in routes.iter().enumerate() {
        let mut own = identity_fields.names().chain(assertion_field);
        if route.api_key_header.as_ref().is_some_and(|name| own.any(|own| own == name)) {
            settings.add_error(format!("routes[{at}].api_key_header"), ConfigErrorKind::Duplicate);
        }
    }
}

/// Adds an error if a route uses introspection during a store outage, and no issuer has one.
fn check_introspection(settings: &mut SettingsReader<'_>, issuers: &[Issuer], routes: &[Route]) {
    let used = routes.iter().any(|route| route.on_store_outage == StoreOutage::Introspect);
    if used
        && !settings.has_error("issuers")
        && issuers.iter().all(|issuer| issuer.introspection.is_none())
    {
        settings.add_error("routes: on_store_outage", ConfigErrorKind::NoIntrospection);
    }
}

/// Returns whether an address rule or a limit needs the client's location.
fn needs_location(ip_rules: &IpRules, routes: &[Route]) -> bool {
    let counts = |by: &LimitBy| matches!(by, LimitBy::Country | LimitBy::Asn);
    ip_rules.needs_location()
        || routes.iter().any(|route| {
            let mut limits = route.limits.iter().chain(&route.anonymous_limits);
            route.ip_rules.as_ref().is_some_and(IpRules::needs_location)
                || limits.any(|limit| limit.by.iter().any(counts))
        })
}

/// Returns the places of the claims that identity fields, routes and limits use.
fn other_claims(identity_fields: &IdentityFields, routes: &[Route]) -> Vec<String> {
    let mut claims: Vec<String> = identity_fields.claims().map(str::to_owned).collect();
    for route in routes {
        let mut places: Vec<&str> = route.claims.iter().map(|(place, _)| place.as_str()).collect();
        if !route.acr_values.is_empty() {
            places.push(ACR);
        }
        if route.max_age_seconds.is_some() {
            places.push(AUTH_TIME);
        }
        for limit in &route.limits {
            for by in &limit.by {
                if let LimitBy::Claim(place) = by {
                    places.push(place);
                }
            }
            if let Some(plans) = &limit.plans {
                places.push(&plans.claim);
            }
        }
        for place in places {
            if !claims.iter().any(|own| own == place) {
                claims.push(place.to_owned());
            }
        }
    }
    claims
}

#[cfg(test)]
mod tests;
