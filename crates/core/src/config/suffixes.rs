//! The `suffixes` of routes: whether `/x.json` and `/x.` are paths of the route `/x`.

use super::error::ConfigErrorKind;
use super::settings::SettingsReader;
use crate::policy::route::{Route, Suffixes};

/// Applies each route's `suffixes`. Adds an error for each route of one path that a weaker one
/// would take suffixed paths from, unless the route says what they are. `places` are those of the
/// routes, such as `routes[2]`.
pub(super) fn apply(settings: &mut SettingsReader<'_>, routes: &mut [Route], places: &[String]) {
    let mut rest = routes;
    for place in places {
        let Some((route, later)) = rest.split_first_mut() else {
            return;
        };
        let takers: Vec<&Route> = match route.suffixes {
            Some(_) => Vec::new(),
            None => takers(route, later).collect(),
        };
        let weaker = takers.iter().find(|later| !later.asks_less_than(route).is_empty());
        let looser = takers.iter().any(|later| later.limits_less_than(route));
        let with_suffixes = match (route.suffixes, weaker) {
            (Some(suffixes), _) => suffixes == Suffixes::Same,
            (None, Some(weaker)) if !route.pattern.is_subtree() => {
                let kind = ConfigErrorKind::SuffixesUnclear(weaker.name.clone());
                settings.add_error(format!("{place}.suffixes"), kind);
                false
            }
            (None, weaker) if weaker.is_some() || looser => {
                // `/v1/*` would take `/v1.1/*` from its own route.
                let spelt =
                    later.iter().find(|later| later.pattern.spells_a_suffix_of(&route.pattern));
                if let Some(spelt) = spelt {
                    let kind = ConfigErrorKind::SuffixesUnclear(spelt.name.clone());
                    settings.add_error(format!("{place}.suffixes"), kind);
                }
                spelt.is_none()
            }
            (None, _) => false,
        };
        if with_suffixes {
            route.pattern.add_suffixes();
        }
        rest = later;
    }
}

/// Returns the later route that would take suffixed paths of `route`, if `route` keeps them and has
/// no `suffixes`. Otherwise returns `None`.
pub(super) fn kept_silently_from<'r>(route: &Route, later: &'r [Route]) -> Option<&'r Route> {
    if route.suffixes.is_some() || !route.pattern.has_suffixes() {
        return None;
    }
    let gives_more =
        |later: &&Route| !later.asks_less_than(route).is_empty() || later.limits_less_than(route);
    takers(route, later).find(gives_more)
}

/// Returns the later routes that would take suffixed paths of `route`.
fn takers<'r>(route: &Route, later: &'r [Route]) -> impl Iterator<Item = &'r Route> {
    let takes = |later: &&Route| {
        later.pattern.takes_suffixes_of(&route.pattern) && later.shares_a_method(route)
    };
    later.iter().filter(takes)
}
