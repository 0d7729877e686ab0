//! Warnings about a valid configuration.

use super::suffixes;
use crate::policy::introspection::Introspection;
use crate::policy::issuer::Issuer;
use crate::policy::route::Route;
use crate::policy::warning::ConfigWarning;
use crate::url::BaseUrl;

/// Returns the warnings about a policy. `upstream` is that of routes without one of their own.
pub(super) fn of(
    issuers: &[Issuer],
    routes: &[Route],
    upstream: Option<&BaseUrl>,
) -> Vec<ConfigWarning> {
    let mut warnings = Vec::new();
    let mut rest = routes;
    while let Some((route, later)) = rest.split_first() {
        if route.is_guarded() && !route.methods.is_empty() {
            warnings.extend(later.iter().filter_map(|later| later_route(route, later)));
        }
        let other = suffixes::kept_silently_from(route, later);
        warnings.extend(other.map(|later| ConfigWarning::SuffixesKept {
            route: route.name.clone(),
            later: later.name.clone(),
        }));
        rest = later;
    }
    warnings.extend(api_keys_unconfirmed(issuers));
    warnings.extend(issuers_shared(issuers, routes));
    warnings.extend(assertion_shared(routes, upstream));
    warnings.extend(rechecks_vain(issuers, routes));
    warnings
}

/// Warns if `later` takes methods that the protected `route` does not name, and asks for less, or
/// if it seems to take them and never does.
fn later_route(route: &Route, later: &Route) -> Option<ConfigWarning> {
    if !later.pattern.overlaps(&route.pattern) {
        return None;
    }
    let less = later.asks_less_than(route);
    let (route_name, later_name) = (route.name.clone(), later.name.clone());
    if later.methods.is_empty() {
        let unreached = !less.is_empty() || route.pattern.covers(&later.pattern);
        return unreached
            .then_some(ConfigWarning::LaterUnreached { route: route_name, later: later_name });
    }
    let takes_more = !later.methods.iter().all(|method| route.is_for(method));
    (takes_more && !less.is_empty()).then(|| ConfigWarning::LaterAsksLess {
        route: route_name,
        later: later_name,
        less: less.join(", "),
    })
}

fn api_keys_unconfirmed(issuers: &[Issuer]) -> Option<ConfigWarning> {
    let unconfirmed =
        |issuer: &&Issuer| !issuer.api_key_prefixes.is_empty() && issuer.introspection.is_none();
    let names: Vec<&str> =
        issuers.iter().filter(unconfirmed).map(|issuer| issuer.issuer.as_str()).collect();
    (!names.is_empty()).then(|| ConfigWarning::ApiKeysUnconfirmed { issuers: names.join(", ") })
}

fn issuers_shared(issuers: &[Issuer], routes: &[Route]) -> Option<ConfigWarning> {
    let first = issuers.first()?;
    if issuers.iter().all(|issuer| issuer.issuer == first.issuer) {
        return None;
    }
    let open = |route: &&Route| route.access.checks_tokens() && route.issuers.is_empty();
    let routes = names(routes.iter().filter(open))?;
    Some(ConfigWarning::IssuersShared { routes })
}

/// Warns of rechecked streams of opaque tokens whose revocations the store never learns.
fn rechecks_vain(issuers: &[Issuer], routes: &[Route]) -> Option<ConfigWarning> {
    let unknown = |issuer: &&Issuer| {
        let writes = |introspection: &Introspection| introspection.revocations_in_store;
        issuer.keys.is_none() && !issuer.introspection.as_ref().is_some_and(writes)
    };
    let accepts_unknown =
        |route: &&Route| issuers.iter().filter(unknown).any(|issuer| route.accepts_issuer(issuer));
    let rechecked = routes.iter().filter(|route| route.stream_recheck_seconds.is_some());
    Some(ConfigWarning::RechecksVain { routes: names(rechecked.filter(accepts_unknown))? })
}

fn assertion_shared(routes: &[Route], upstream: Option<&BaseUrl>) -> Option<ConfigWarning> {
    let shared =
        || routes.iter().filter(|route| route.assertion && route.assertion_audience.is_none());
    let first = shared().next()?;
    if shared().all(|route| upstream_of(route, upstream) == upstream_of(first, upstream)) {
        return None;
    }
    Some(ConfigWarning::AssertionShared { routes: names(shared())? })
}

fn upstream_of<'a>(route: &'a Route, default: Option<&'a BaseUrl>) -> Option<&'a BaseUrl> {
    route.upstream.as_ref().or(default)
}

/// Returns the names of routes, separated by commas, or `None` without a route.
fn names<'r>(routes: impl Iterator<Item = &'r Route>) -> Option<String> {
    let names: Vec<&str> = routes.map(|route| route.name.as_str()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}
