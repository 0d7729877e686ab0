//! Two routes of the same request, before and after.

use super::{Change, Sides, limits};
use portcullis_core::{
    Access, BaseUrl, Cors, IpRules, Policy, Route, StoreOutage, TokenRequirement,
};
use serde_json::Value;

/// Returns what differs between the old and the new route of a request.
pub(super) fn compare(old: &Route, new: &Route, sides: &Sides<'_>) -> Vec<Change> {
    let (before, after) = (sides.old, sides.new);
    let mut changes = Vec::new();
    let less = new.asks_less_than(old);
    let mut note = |member: &str, text: String| {
        changes.push(Change { is_same_or_stricter: !less.contains(&member), text });
    };
    if old.access != new.access {
        note("access", format!("{}, now {}", access(old), access(new)));
    }
    if old.scopes != new.scopes {
        note(
            "scopes",
            format!("requires the scopes {}, now {}", list(&old.scopes), list(&new.scopes)),
        );
    }
    if old.scopes_any != new.scopes_any {
        let (old, new) = (list(&old.scopes_any), list(&new.scopes_any));
        note("scopes_any", format!("requires one of the scopes {old}, now {new}"));
    }
    if old.claims != new.claims {
        let (old, new) = (claims(&old.claims), claims(&new.claims));
        note("claims", format!("requires the claims {old}, now {new}"));
    }
    if old.acr_values != new.acr_values {
        let (old, new) = (list(&old.acr_values), list(&new.acr_values));
        note("acr_values", format!("requires one of the acr_values {old}, now {new}"));
    }
    if old.max_age_seconds != new.max_age_seconds {
        let (old, new) = (number(old.max_age_seconds), number(new.max_age_seconds));
        note("max_age_seconds", format!("max_age_seconds: {old}, now {new}"));
    }
    if old.issuers != new.issuers {
        let all = |names: &[String]| if names.is_empty() { "all".to_owned() } else { list(names) };
        let (old, new) = (all(&old.issuers), all(&new.issuers));
        note("issuers", format!("accepts tokens of the issuers {old}, now {new}"));
    }
    if old.require != new.require {
        let name = |require| match require {
            TokenRequirement::Record => "a record in the store and no revocation",
            TokenRequirement::NotRevoked => "no revocation",
        };
        note("require", format!("requires {}, now {}", name(old.require), name(new.require)));
    }
    if old.ip_rules != new.ip_rules {
        // A route's own rules replace the general ones.
        let of = |route: &Route, policy: &Policy| {
            route.ip_rules.clone().unwrap_or_else(|| policy.ip_rules.clone())
        };
        let (old, new) = (of(old, before), of(new, after));
        let refuses_more = IpRules { unlimited: Vec::new(), ..old.clone() } == IpRules::default()
            && new.unlimited.iter().all(|network| old.unlimited.contains(network));
        changes.push(Change {
            is_same_or_stricter: old == new || refuses_more,
            text: "has other ip_rules".to_owned(),
        });
    }
    let (old_audience, new_audience) = (audience(old, before), audience(new, after));
    if old_audience != new_audience {
        let text = format!("accepts tokens for {old_audience}, now for {new_audience}");
        changes.push(Change::weaker(text));
    }
    if old.enforce != new.enforce {
        changes.push(match new.enforce {
            true => Change::other("refuses requests, and no longer logs only what it would refuse"),
            false => Change::weaker("refuses no request, and logs only what it would refuse"),
        });
    }
    changes.extend(outage(old, new));
    changes.extend(limits::compare(old, new, &sides.shared_limits));
    if old.cost != new.cost {
        let text = format!("takes {} of each limit, now {}", old.cost, new.cost);
        changes.push(Change { is_same_or_stricter: old.cost < new.cost, text });
    }
    changes.extend(forwarding(old, new, before, after));
    changes
}

/// Describes a route that takes a request which none took before.
pub(super) fn describe(route: &Route) -> String {
    let scopes = match route.scopes.is_empty() {
        true => String::new(),
        false => format!(", with the scopes {}", list(&route.scopes)),
    };
    format!("{}{scopes}", access(route))
}

/// Returns the audience that tokens must have.
fn audience(route: &Route, policy: &Policy) -> String {
    match route.resource.and_then(|place| policy.resources.get(place)) {
        Some(resource) => resource.audiences.join(" or "),
        None => "the audience of their issuer".to_owned(),
    }
}

fn access(route: &Route) -> &'static str {
    match route.access {
        Access::Auth => "to the auth service without a token",
        Access::Deny => "denied",
        Access::Events => "to the edge itself, which takes pushed events",
        Access::Optional => "with a valid token or none",
        Access::Protected => "with a valid token",
        Access::Public => "without a token",
    }
}

fn outage(old: &Route, new: &Route) -> Option<Change> {
    let describe = |outage| match outage {
        StoreOutage::Deny => (0, "refuses tokens"),
        StoreOutage::Introspect => (1, "asks the issuer"),
        StoreOutage::Signature => (2, "accepts revoked tokens until they expire"),
    };
    let ((before, old), (after, new)) =
        (describe(old.on_store_outage), describe(new.on_store_outage));
    let text = format!("while the store is unavailable, {old}, now {new}");
    (before != after).then_some(Change { is_same_or_stricter: after < before, text })
}

fn forwarding(old: &Route, new: &Route, before: &Policy, after: &Policy) -> Vec<Change> {
    let mut changes = Vec::new();
    fn target<'p>(route: &'p Route, policy: &'p Policy) -> &'p str {
        match route.access {
            Access::Auth => policy.auth.as_ref().map_or("", BaseUrl::as_str),
            _ => route.upstream.as_ref().unwrap_or(&policy.upstream).as_str(),
        }
    }
    let (old_target, new_target) = (target(old, before), target(new, after));
    if old_target != new_target {
        changes.push(Change::other(format!("goes to {old_target}, now {new_target}")));
    }
    if old.forward_token != new.forward_token {
        changes.push(match new.forward_token {
            true => Change::weaker("gives the token to the upstream"),
            false => Change::other("no longer gives the token to the upstream"),
        });
    }
    if old.cookie != new.cookie {
        let name = |cookie: &Option<String>| cookie.clone().unwrap_or_else(|| "none".to_owned());
        let text = format!("token cookie: {}, now {}", name(&old.cookie), name(&new.cookie));
        changes.push(Change { is_same_or_stricter: new.cookie.is_none(), text });
    }
    if old.api_key_header != new.api_key_header {
        let name = |field: &Option<String>| field.clone().unwrap_or_else(|| "none".to_owned());
        let (before, after) = (name(&old.api_key_header), name(&new.api_key_header));
        let text = format!("field of API keys: {before}, now {after}");
        changes.push(Change { is_same_or_stricter: new.api_key_header.is_none(), text });
    }
    for (member, old, new) in [
        ("stream_seconds_max", old.stream_seconds_max, new.stream_seconds_max),
        ("stream_recheck_seconds", old.stream_recheck_seconds, new.stream_recheck_seconds),
    ] {
        let text = format!("{member}: {}, now {}", number(old), number(new));
        // Without a bound, a stream outlives its token.
        let is_looser = old.is_some_and(|old| new.is_none_or(|new| new > old));
        if old != new {
            changes.push(Change { is_same_or_stricter: !is_looser, text });
        }
    }
    if old.timeout_ms != new.timeout_ms {
        let (old, new) = (number(old.timeout_ms), number(new.timeout_ms));
        changes.push(Change::other(format!("timeout_ms: {old}, now {new}")));
    }
    if (old.assertion, &old.assertion_audience) != (new.assertion, &new.assertion_audience) {
        let text = "signs another assertion for the upstream, or none";
        changes.push(Change { is_same_or_stricter: new.assertion, text: text.to_owned() });
    }
    if old.endpoint != new.endpoint {
        changes.push(Change::other("is another endpoint of the auth service"));
    }
    if old.cors != new.cors {
        changes.push(cors(old.cors.as_ref(), new.cors.as_ref()));
    }
    changes
}

fn cors(old: Option<&Cors>, new: Option<&Cors>) -> Change {
    let (Some(old), Some(new)) = (old, new) else {
        return match new {
            Some(new) => Change::weaker(format!("lets pages of {} call it", list(&new.origins))),
            None => Change::other("lets no pages of other origins call it"),
        };
    };
    let differs = [
        ("origins", old.origins != new.origins),
        ("methods", old.methods != new.methods),
        ("headers", old.headers != new.headers),
        ("expose", old.expose != new.expose),
        ("credentials", old.credentials != new.credentials),
        ("max_age_seconds", old.max_age_seconds != new.max_age_seconds),
    ];
    let differs = differs.into_iter().filter(|(_, differs)| *differs);
    let members: Vec<String> = differs.map(|(member, _)| member.to_owned()).collect();
    Change::weaker(format!("lets pages call it by other rules (cors: {})", list(&members)))
}

pub(super) fn number(value: Option<u32>) -> String {
    value.map_or("not set".to_owned(), |value| value.to_string())
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(" and ") }
}

fn claims(claims: &[(String, Vec<Value>)]) -> String {
    let one = |(name, allowed): &(String, Vec<Value>)| {
        let allowed: Vec<String> = allowed.iter().map(Value::to_string).collect();
        format!("{name} = {}", allowed.join(" or "))
    };
    list(&claims.iter().map(one).collect::<Vec<_>>())
}
