//! `[[routes]]`: which requests are accepted, what they require, and where they go.

mod resource;

use super::error::ConfigErrorKind;
use super::object::{Number, ObjectReader};
use super::record::{MemberShape, TextFormat};
use super::settings::{SettingsReader, is_safe_name};
use super::{cors, ip_rules, limits, suffixes};
use crate::policy::cors::Cors;
use crate::policy::issuer::Issuer;
use crate::policy::limit::{Limit, LimitBy};
use crate::policy::path::Pattern;
use crate::policy::resource::Resource;
use crate::policy::route::{Access, Endpoint, Route, StoreOutage, Suffixes, TokenRequirement};
use crate::request::field_names::{IDENTITY_PREFIX, is_available};
use crate::request::syntax::{is_cookie_name, is_method, is_scope};
use serde_json::Value;

/// The entries of other lists that routes name.
pub(super) struct Named<'n> {
    pub(super) limits: &'n [Limit],
    pub(super) issuers: &'n [Issuer],
    pub(super) resources: &'n [Resource],
}

/// Reads the list. `default_cors` is for routes without a `cors`; `has_assertion` says whether
/// assertions can be signed.
///
/// An empty or missing list is an error, and so is a route whose requests an earlier one takes.
/// A route whose name, path or access can't be read is left out of the result.
pub(super) fn read(
    settings: &mut SettingsReader<'_>,
    default_cors: Option<&Cors>,
    has_assertion: bool,
    named: &Named<'_>,
) -> Vec<Route> {
    let (mut routes, mut places, mut names) = (Vec::<Route>::new(), Vec::new(), Vec::new());
    for entry in settings.required_list("routes") {
        let Some(mut object) = settings.entry(entry, "route", "name") else {
            continue;
        };
        let route = route(&mut object, has_assertion, named, &mut names);
        if let Some(mut route) = route {
            // Providers are not browsers.
            if route.access != Access::Events {
                route.cors = route.cors.or_else(|| default_cors.cloned());
            }
            if let Some(earlier) = routes.iter().find(|earlier| earlier.covers(&route)) {
                let place = object.place().to_owned();
                let kind = ConfigErrorKind::Shadowed(earlier.name.clone());
                object.settings.add_error(place, kind);
            }
            routes.push(route);
            places.push(object.place().to_owned());
        }
        object.finish();
    }
    // A malformed route may seem to ask for less than it is meant to.
    if !settings.has_known_error("routes") {
        suffixes::apply(settings, &mut routes, &places);
    }
    routes
}

/// Reads one route, and adds its name to `names`.
fn route(
    object: &mut ObjectReader<'_, '_>,
    has_assertion: bool,
    named: &Named<'_>,
    names: &mut Vec<String>,
) -> Option<Route> {
    object.require(&["name", "path", "access"]);
    let name = route_name(object, names);
    let mut methods = object.texts("methods").unwrap_or_default();
    if !methods.iter().all(|method| is_method(method)) {
        object.add_error("methods", ConfigErrorKind::NotAMethod);
    }
    let (scopes, scopes_any) = (scope_tokens(object, "scopes"), scope_tokens(object, "scopes_any"));
    let claims = claims(object);
    let acr_values = scope_tokens(object, "acr_values");
    let max_age_seconds = object.number("max_age_seconds", 1, MAX_AGE_SECONDS_MAX);
    let issuers = route_issuers(object, named.issuers);
    object.record_default_name("require", &TokenRequirement::NAMES, &REQUIREMENT);
    let require = object.one_of("require", &TokenRequirement::NAMES);
    object.record_default_name("on_store_outage", &StoreOutage::NAMES, &StoreOutage::default());
    let on_store_outage = object.one_of("on_store_outage", &StoreOutage::NAMES);
    let stream_seconds_max = object.number("stream_seconds_max", 1, 86_400);
    let stream_recheck_seconds = object.number("stream_recheck_seconds", 1, 86_400);
    let cookie = object.text("cookie");
    if cookie.as_ref().is_some_and(|name| !is_cookie_name(name)) {
        object.add_error("cookie", ConfigErrorKind::NotACookie);
    }
    let api_key_header = object.text("api_key_header").map(|name| name.to_ascii_lowercase());
    if api_key_header.as_ref().is_some_and(|name| !is_key_field(name)) {
        object.add_error("api_key_header", ConfigErrorKind::NotAField);
    }
    let forward_token = object.optional_flag("forward_token");
    let assertion = object.flag("assertion");
    if assertion && !has_assertion {
        object.add_error("assertion", ConfigErrorKind::AssertionUnset);
    }
    let assertion_audience = object.nonempty_text("assertion_audience");
    if assertion_audience.is_some() && !assertion {
        object.add_error("assertion_audience", ConfigErrorKind::NotWithoutAssertion);
    }
    let access = object.one_of("access", &Access::NAMES);
    let unprotected = access.is_some_and(|access| !access.checks_tokens());
    if unprotected {
        for (member, set) in [
            ("scopes", !scopes.is_empty()),
            ("scopes_any", !scopes_any.is_empty()),
            ("claims", !claims.is_empty()),
            ("acr_values", !acr_values.is_empty()),
            ("max_age_seconds", max_age_seconds.is_some()),
            ("issuers", !issuers.is_empty()),
            ("require", require.is_some()),
            ("on_store_outage", on_store_outage.is_some()),
            ("stream_seconds_max", stream_seconds_max.is_some()),
            ("stream_recheck_seconds", stream_recheck_seconds.is_some()),
            ("cookie", cookie.is_some()),
            ("api_key_header", api_key_header.is_some()),
            ("forward_token", forward_token.is_some()),
            ("assertion", assertion),
        ] {
            if set {
                object.add_error(member, ConfigErrorKind::NotForAccess);
            }
        }
    }
    let resource = resource::read(object, named.resources, unprotected);
    if access == Some(Access::Deny) {
        for member in ["limit", "limits", "cost", "timeout_ms", "endpoint", "upstream", "ip_rules"]
        {
            if object.has(member) {
                object.add_error(member, ConfigErrorKind::NotForAccess);
            }
        }
    }
    if access == Some(Access::Events) {
        for member in ["cors", "enforce", "timeout_ms", "upstream"] {
            if object.has(member) {
                object.add_error(member, ConfigErrorKind::NotForAccess);
            }
        }
        if methods.iter().any(|method| method != "POST") {
            object.add_error("methods", ConfigErrorKind::NotForAccess);
        }
        methods = vec!["POST".to_owned()];
    }
    let enforce = object.optional_flag("enforce");
    object.record_default("enforce", || true.into());
    let is_open = access.is_some_and(|access| matches!(access, Access::Auth | Access::Deny));
    if enforce.is_some() && is_open {
        object.add_error("enforce", ConfigErrorKind::NotForAccess);
    }
    let cost = object.number_or_default(&COST);
    let limits = route_limits(object, name.as_deref().unwrap_or_default(), named.limits);
    check_limits(object, &limits, cost, unprotected);
    let anonymous_limits = anonymous_limits(object, named.limits, access);
    check_limits(object, &anonymous_limits, cost, true);
    let timeout_ms_max = if access == Some(Access::Auth) { 60_000 } else { 300_000 };
    let timeout_ms = object.number("timeout_ms", 1, timeout_ms_max);
    let endpoint: Option<Endpoint> = object.one_of("endpoint", &Endpoint::NAMES);
    if endpoint.is_some() && access.is_some_and(|access| access != Access::Auth) {
        object.add_error("endpoint", ConfigErrorKind::NotForAccess);
    }
    let ip_rules = object.object("ip_rules").map(ip_rules::read_object);
    let cors = object.object("cors").map(cors::read_object);
    let upstream = object.url_or_binding("upstream");
    if upstream.is_some() && access == Some(Access::Auth) {
        object.add_error("upstream", ConfigErrorKind::NotForAccess);
    }
    let suffixes = object.one_of("suffixes", &Suffixes::NAMES);
    let pattern = object.text("path").map(|path| Pattern::parse(&path));
    if let Some(None) = pattern {
        object.add_error("path", ConfigErrorKind::UnreachablePath);
    }
    Some(Route {
        name: name?,
        access: access?,
        enforce: enforce.unwrap_or(true),
        methods,
        pattern: pattern??,
        suffixes,
        scopes,
        scopes_any,
        claims,
        acr_values,
        max_age_seconds,
        issuers,
        resource,
        require: require.unwrap_or(REQUIREMENT),
        limits,
        anonymous_limits,
        cost,
        on_store_outage: on_store_outage.unwrap_or_default(),
        ip_rules,
        timeout_ms,
        stream_seconds_max,
        stream_recheck_seconds,
        endpoint,
        upstream,
        cookie,
        api_key_header,
        forward_token: forward_token.unwrap_or_default(),
        assertion,
        assertion_audience,
        cors,
    })
}

/// Returns whether a header field, in lower case, may hold API keys: none that HTTP, a proxy or the
/// edge uses otherwise.
fn is_key_field(name: &str) -> bool {
    let bare = name.strip_prefix("x-").unwrap_or(name);
    is_available(name) && !bare.starts_with(IDENTITY_PREFIX)
}

/// Reads the name, which must be unique, and adds it to `names`.
fn route_name(object: &mut ObjectReader<'_, '_>, names: &mut Vec<String>) -> Option<String> {
    object.record_format("name", TextFormat::Name);
    let name = object.text("name");
    if name.as_ref().is_some_and(|name| !is_safe_name(name)) {
        object.add_error("name", ConfigErrorKind::UnsafeName);
    }
    let same = name.as_ref().and_then(|name| names.iter().position(|earlier| earlier == name));
    if let Some(at) = same {
        object.add_error("name", ConfigErrorKind::SameName(format!("routes[{at}]")));
    }
    // Each entry has a place, so that places are right in messages.
    names.push(name.clone().unwrap_or_default());
    name
}

/// Reads the issuers whose tokens the route accepts. Each must be one of `known`.
fn route_issuers(object: &mut ObjectReader<'_, '_>, known: &[Issuer]) -> Vec<String> {
    let Some(names) = object.texts("issuers") else {
        return Vec::new();
    };
    if names.is_empty() {
        object.add_error("issuers", ConfigErrorKind::Empty);
    }
    // A malformed issuer has errors of its own.
    let complete = !object.settings.has_error("issuers");
    for (at, name) in names.iter().enumerate() {
        if complete && !known.iter().any(|issuer| issuer.issuer == *name) {
            object.add_error(&format!("issuers[{at}]"), ConfigErrorKind::NoSuchIssuer);
        }
        if names.iter().take(at).any(|earlier| earlier == name) {
            object.add_error(&format!("issuers[{at}]"), ConfigErrorKind::Duplicate);
        }
    }
    names
}

/// Reads a list of scope-tokens (RFC 6749 section 3.3). Challenges name them, separated by spaces.
fn scope_tokens(object: &mut ObjectReader<'_, '_>, member: &str) -> Vec<String> {
    let tokens = object.texts(member).unwrap_or_default();
    if !tokens.iter().all(|token| is_scope(token)) {
        object.add_error(member, ConfigErrorKind::NotAScope);
    }
    tokens
}

/// Reads the route's own limit, which has the route's name, and the shared limits that it names.
fn route_limits(object: &mut ObjectReader<'_, '_>, route: &str, shared: &[Limit]) -> Vec<Limit> {
    let own = object.object("limit").map(|mut limit| {
        if limit.unrecorded("name").is_some() {
            limit.add_error("name", ConfigErrorKind::NamedByRoute);
        }
        limits::read_object(limit, route.to_owned())
    });
    let same = shared.iter().position(|other| own.is_some() && other.name == route);
    if let Some(at) = same {
        object.add_error("name", ConfigErrorKind::SameName(format!("limits[{at}]")));
    }
    let mut limits = Vec::from_iter(own);
    shared_limits(object, "limits", shared, &mut limits);
    limits
}

/// Reads the limits of requests without a token, which only an optional route has.
fn anonymous_limits(
    object: &mut ObjectReader<'_, '_>,
    shared: &[Limit],
    access: Option<Access>,
) -> Vec<Limit> {
    const MEMBER: &str = "anonymous_limits";
    if object.has(MEMBER) && access.is_some_and(|access| access != Access::Optional) {
        object.add_error(MEMBER, ConfigErrorKind::NotForAccess);
    }
    let mut limits = Vec::new();
    shared_limits(object, MEMBER, shared, &mut limits);
    limits
}

/// Adds the shared limits that a member of the route names.
fn shared_limits(
    object: &mut ObjectReader<'_, '_>,
    member: &str,
    shared: &[Limit],
    limits: &mut Vec<Limit>,
) {
    for (at, name) in object.texts(member).unwrap_or_default().iter().enumerate() {
        let kind = match shared.iter().find(|limit| limit.name == *name) {
            Some(limit) if limits.contains(limit) => ConfigErrorKind::Duplicate,
            Some(limit) => {
                limits.push(limit.clone());
                continue;
            }
            // A malformed limit has errors of its own.
            None if object.settings.has_error("limits") => continue,
            None => ConfigErrorKind::NoSuchLimit,
        };
        object.add_error(&format!("{member}[{at}]"), kind);
    }
}

/// Adds an error for each limit that the route can't use: one that needs a token on an unprotected
/// route, or one that never admits the route's cost.
fn check_limits(object: &mut ObjectReader<'_, '_>, limits: &[Limit], cost: u32, unprotected: bool) {
    for limit in limits {
        let needs_token = limit.by.iter().any(LimitBy::needs_token) || limit.plans.is_some();
        if needs_token && unprotected {
            let place = format!("{}: limit {}", object.place(), limit.name);
            object.settings.add_error(place, ConfigErrorKind::NotForAccess);
        }
        // A malformed limit has errors of its own.
        let settings = &object.settings;
        let valid = !settings.has_error(&object.at("limit")) && !settings.has_error("limits");
        if valid && (1..cost).contains(&limit.smallest_burst()) {
            object.add_error(&format!("cost: limit {}", limit.name), ConfigErrorKind::AboveQuota);
        }
    }
}

/// Reads the places of the required claims, each with its allowed values.
fn claims(object: &mut ObjectReader<'_, '_>) -> Vec<(String, Vec<Value>)> {
    let mut claims = Vec::new();
    let values = || Box::new(MemberShape::OneOrMore(Box::new(MemberShape::Scalar)));
    let members = match object.value("claims", || MemberShape::Map { of: values(), min: 0 }) {
        None => return claims,
        Some(Value::Object(members)) => members,
        Some(_) => {
            object.add_error("claims", ConfigErrorKind::NotA("a table"));
            return claims;
        }
    };
    for (name, value) in members {
        let allowed = match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        let scalar = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
        let member = format!("claims.{name}");
        object.check_place(&member, &name);
        if allowed.is_empty() || !allowed.iter().all(scalar) {
            object.add_error(&member, ConfigErrorKind::NotAClaim);
        }
        claims.push((name, allowed));
    }
    claims
}

const COST: Number = Number { name: "cost", min: 1, max: 1_000_000, default: 1 };
/// A year. The time since a login is bounded by the token's life anyway.
const MAX_AGE_SECONDS_MAX: u32 = 31_536_000;
/// What a route without `require` requires.
const REQUIREMENT: TokenRequirement = TokenRequirement::Record;
