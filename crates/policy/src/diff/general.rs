//! What changes for all requests: issuers, revocation, and the other sections.

use super::{Change, Comparison, Loaded};
use portcullis_core::{
    AudienceClaim, EventPolicy, Introspection, Issuer, Policy, Requirements, Resource, TokenType,
};
use serde_json::{Map, Value};

/// Compares what decides on tokens of every route.
pub(super) fn compare(old: &Policy, new: &Policy) -> Vec<Comparison> {
    let mut changes = Vec::new();
    let (before, after) = (old.revocation_delay_seconds_max, new.revocation_delay_seconds_max);
    if before != after {
        let text = format!("a revoked token works for up to {before} s, now {after} s");
        changes.push(Change { is_same_or_stricter: after < before, text });
    }
    if old.trusted_proxy_hops != new.trusted_proxy_hops {
        let (before, after) = (old.trusted_proxy_hops, new.trusted_proxy_hops);
        let text = format!("trusts {before} proxies for the client's address, now {after}");
        // With too many as with too few, clients may choose their addresses.
        changes.push(Change::weaker(text));
    }
    if old.invalid_token_limit != new.invalid_token_limit {
        let text = "another limit of invalid tokens, or none".to_owned();
        changes.push(Change { is_same_or_stricter: old.invalid_token_limit.is_none(), text });
    }
    if old.ip_rules != new.ip_rules {
        changes.push(Change::weaker("other ip_rules for routes without their own"));
    }
    let resources = |policy: &Policy| policy.resources.iter().map(describe).collect::<Vec<_>>();
    let (before, after) = (resources(old), resources(new));
    // Which routes accept other tokens is said of each route.
    for (text, is_old) in
        before.iter().map(|text| (text, true)).chain(after.iter().map(|text| (text, false)))
    {
        if before.contains(text) != after.contains(text) {
            let has = if is_old { "no longer has" } else { "has" };
            changes.push(Change::other(format!("{has} the resource {text}")));
        }
    }
    changes.extend(events(old, new));
    let general = Comparison { requests: Vec::new(), subject: "all requests".to_owned(), changes };
    let mut comparisons = vec![general];
    for issuer in &new.issuers {
        let same = old.issuers.iter().find(|other| is_same(other, issuer));
        let changes = match same {
            None => vec![Change::weaker("its tokens are accepted now")],
            Some(other) => issuer_changes(other, issuer),
        };
        comparisons.push(of_issuer(issuer, changes));
    }
    for issuer in &old.issuers {
        if !new.issuers.iter().any(|other| is_same(other, issuer)) {
            let changes = vec![Change::other("its tokens are no longer accepted")];
            comparisons.push(of_issuer(issuer, changes));
        }
    }
    comparisons
}

/// Describes other rules for pushed events. They revoke tokens, and admit none.
fn events(old: &Policy, new: &Policy) -> Vec<Change> {
    fn of<'p>(policy: &'p Policy, issuer: &str) -> Option<&'p EventPolicy> {
        let is_its = |rules: &&EventPolicy| {
            policy.issuers.get(rules.issuer).is_some_and(|own| own.issuer == issuer)
        };
        policy.events.iter().find(is_its)
    }
    // The place of an issuer is not a rule.
    let text = |rules: &EventPolicy| format!("{:?}", EventPolicy { issuer: 0, ..rules.clone() });
    let mut changes = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    for issuer in old.issuers.iter().chain(&new.issuers) {
        let name = issuer.issuer.as_str();
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        let what = match (of(old, name), of(new, name)) {
            (None, None) => continue,
            (Some(old), Some(new)) if text(old) == text(new) => continue,
            (None, Some(_)) => "are accepted now",
            (Some(_), None) => "are no longer accepted, so that its revocations are not pushed",
            (Some(_), Some(_)) => "are accepted by other rules",
        };
        changes.push(Change::other(format!("events of {name} {what}")));
    }
    changes
}

fn describe(resource: &Resource) -> String {
    let Resource { name, url, audiences } = resource;
    format!("{name}, {}, for {}", url.as_str(), audiences.join(" or "))
}

fn is_same(one: &Issuer, other: &Issuer) -> bool {
    one.issuer == other.issuer && one.keys.is_some() == other.keys.is_some()
}

fn of_issuer(issuer: &Issuer, changes: Vec<Change>) -> Comparison {
    let kind = if issuer.keys.is_some() { "JWTs" } else { "opaque tokens" };
    let subject = format!("issuer {} ({kind})", issuer.issuer);
    Comparison { requests: Vec::new(), subject, changes }
}

fn issuer_changes(old: &Issuer, new: &Issuer) -> Vec<Change> {
    let mut changes = Vec::new();
    changes.extend(tokens_changes(old, new));
    let names = |issuer: &Issuer| {
        let names: Vec<&str> = issuer.algorithms.iter().map(|own| own.name()).collect();
        names.join(", ")
    };
    if old.algorithms != new.algorithms {
        let is_narrower = new.algorithms.iter().all(|own| old.algorithms.contains(own));
        let text = format!("algorithms: {}, now {}", names(old), names(new));
        changes.push(Change { is_same_or_stricter: is_narrower, text });
    }
    if old.token_type != new.token_type {
        let looseness = |kind| match kind {
            TokenType::AtJwt => 0,
            TokenType::Jwt => 1,
            TokenType::Off => 2,
        };
        let is_stricter = looseness(new.token_type) < looseness(old.token_type);
        let text = format!("token_type: {:?}, now {:?}", old.token_type, new.token_type);
        changes.push(Change { is_same_or_stricter: is_stricter, text });
    }
    if old.leeway_seconds != new.leeway_seconds {
        let (before, after) = (old.leeway_seconds, new.leeway_seconds);
        let text = format!("leeway_seconds: {before}, now {after}");
        changes.push(Change { is_same_or_stricter: after < before, text });
    }
    if old.scope_claims != new.scope_claims {
        let is_narrower = new.scope_claims.iter().all(|place| old.scope_claims.contains(place));
        let (before, after) = (old.scope_claims.join(", "), new.scope_claims.join(", "));
        let text = format!("scope_claims: {before}, now {after}");
        changes.push(Change { is_same_or_stricter: is_narrower, text });
    }
    if format!("{:?}", old.keys) != format!("{:?}", new.keys) {
        changes.push(Change::weaker("its keys come from elsewhere"));
    }
    if old.sessions_in_store != new.sessions_in_store {
        changes.push(sessions(new));
    }
    changes.extend(match (&old.introspection, &new.introspection) {
        (None, None) => Vec::new(),
        (None, Some(_)) => vec![Change::weaker("its introspection is queried now")],
        (Some(_), None) => vec![Change::other("its introspection is no longer queried")],
        (Some(old), Some(new)) => introspection(old, new),
    });
    changes
}

/// Compares which of the issuer's tokens are accepted, by their issuer, audience and other members.
fn tokens_changes(old: &Issuer, new: &Issuer) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut list = |name: &str, old: &[String], new: &[String], is_any: bool| {
        if old != new {
            let text = |list: &[String]| match list.is_empty() {
                true => "not set".to_owned(),
                false => list.join(", "),
            };
            let is_within = new.iter().all(|own| old.contains(own));
            // An empty list means that anything is accepted, where `is_any`; otherwise, nothing.
            let is_same_or_stricter = match is_any {
                true => !new.is_empty() && (old.is_empty() || is_within),
                false => is_within,
            };
            let text = format!("{name}: {}, now {}", text(old), text(new));
            changes.push(Change { is_same_or_stricter, text });
        }
    };
    let tenants = |issuer: &Issuer| issuer.tenants.clone().unwrap_or_default();
    list("audience", &old.audiences, &new.audiences, !new.authorized_parties.is_empty());
    list("authorized_parties", &old.authorized_parties, &new.authorized_parties, true);
    list("issuer_aliases", &old.aliases, &new.aliases, false);
    list("api_key_prefixes", &old.api_key_prefixes, &new.api_key_prefixes, false);
    list("tenants", &tenants(old), &tenants(new), true);
    if old.audience_claim != new.audience_claim {
        let looseness = |claim| match claim {
            AudienceClaim::Aud => 0,
            AudienceClaim::ClientId | AudienceClaim::Azp => 1,
            AudienceClaim::Iss => 2,
        };
        let is_same_or_stricter = looseness(new.audience_claim) < looseness(old.audience_claim);
        let text =
            format!("audience_claim: {:?}, now {:?}", old.audience_claim, new.audience_claim);
        changes.push(Change { is_same_or_stricter, text });
    }
    for (part, old, new) in
        [("claims", &old.claims, &new.claims), ("header", &old.header, &new.header)]
    {
        if old != new {
            let text = format!("{part}: other required or forbidden members");
            changes.push(Change { is_same_or_stricter: requires_all_of(new, old), text });
        }
    }
    changes
}

/// Returns whether `new` requires all that `old` requires.
fn requires_all_of(new: &Requirements, old: &Requirements) -> bool {
    let within = |old: &[String], new: &[String]| old.iter().all(|own| new.contains(own));
    let values = old.values.iter().all(|(place, allowed)| {
        let same = new.values.iter().find(|(own, _)| own == place);
        same.is_some_and(|(_, own)| own.iter().all(|value| allowed.contains(value)))
    });
    values && within(&old.required, &new.required) && within(&old.forbidden, &new.forbidden)
}

/// Describes another `sessions_in_store`. With it, the store has a record of each opaque token,
/// which is queried before the response to a refresh is given again.
fn sessions(new: &Issuer) -> Change {
    let is_opaque = new.keys.is_none();
    match (new.sessions_in_store, is_opaque) {
        (true, true) => Change::other(
            "its sessions are in the store: a refresh is answered again only if the store still has \
             the access token, and the store learns when a session was seen",
        ),
        (false, true) => Change::weaker(
            "its sessions are not in the store: a refresh is answered again without asking the store \
             whether the access token was revoked",
        ),
        (true, false) => Change::other("the store learns when one of its sessions was seen"),
        (false, false) => {
            Change::other("the store no longer learns when one of its sessions was seen")
        }
    }
}

fn introspection(old: &Introspection, new: &Introspection) -> Vec<Change> {
    let mut changes = Vec::new();
    for (what, old, new) in [
        ("url", &old.url, &new.url),
        ("client_id", &old.client_id, &new.client_id),
        ("token_prefix", &old.token_prefix, &new.token_prefix),
    ] {
        if old != new {
            changes.push(Change::weaker(format!("introspection.{what}: {old}, now {new}")));
        }
    }
    if old.client_secret.expose() != new.client_secret.expose() {
        changes.push(Change::other("introspection: another client_secret_variable"));
    }
    if old.client_auth != new.client_auth {
        let (old, new) = (old.client_auth, new.client_auth);
        changes.push(Change::other(format!("introspection.client_auth: {old:?}, now {new:?}")));
    }
    if old.revocations_in_store != new.revocations_in_store {
        // Whether the provider really writes them is its own affair.
        changes.push(match new.revocations_in_store {
            true => Change::weaker(
                "a response of its introspection is cached for the token's life, because the store \
                 is to have its revocations",
            ),
            false => Change::other(
                "a response of its introspection is cached no longer than \
                 revocation.delay_seconds_max",
            ),
        });
    }
    changes
}

/// Compares the members of the other sections. Only those that delay a refusal can weaken anything
/// by themselves.
pub(super) fn compare_sections(old: &Loaded, new: &Loaded) -> Vec<Comparison> {
    let [old_delays, new_delays] = [&old.policy, &new.policy].map(delays);
    let (old, new) = (&old.sections, &new.sections);
    let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
    let names = names.filter(|name| !COMPARED.contains(&name.as_str()));
    let section = |name: &String| {
        let of = |sections: &Map<String, Value>| {
            sections.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
        };
        let (before, after) = (of(old), of(new));
        let members = before.keys().chain(after.keys().filter(|own| !before.contains_key(*own)));
        let change = |member: &String| {
            let text = |table: &Map<String, Value>| {
                table.get(member).map_or("not set".to_owned(), Value::to_string)
            };
            let (old, new) = (text(&before), text(&after));
            let text = format!("{member}: {old}, now {new}");
            let mut delays = old_delays.iter().zip(&new_delays);
            let is_longer = delays.any(|((place, old), (_, new))| {
                *place == (name.as_str(), member.as_str()) && old < new
            });
            (old != new).then_some(Change { is_same_or_stricter: !is_longer, text })
        };
        let changes = members.filter_map(change).collect();
        Comparison { requests: Vec::new(), subject: format!("[{name}]"), changes }
    };
    names.map(section).collect()
}

/// Returns the members that delay a refusal the longer they are, each with its seconds.
fn delays(policy: &Policy) -> [((&'static str, &'static str), u32); 3] {
    // With 0 there is no list, and a blocked network is never refused.
    let block = match policy.block_refresh_seconds {
        0 => u32::MAX,
        seconds => seconds,
    };
    [
        (("block", "refresh_seconds"), block),
        (("jwks", "fresh_seconds"), policy.key_sets.fresh_seconds),
        (("jwks", "stale_seconds_max"), policy.key_sets.stale_seconds_max),
    ]
}

/// Sections whose meaning is compared, in the routes and above.
const COMPARED: [&str; 9] = [
    "accept",
    "client_address",
    "invalid_token_limit",
    "ip_rules",
    "issuers",
    "limits",
    "resources",
    "revocation",
    "routes",
];
