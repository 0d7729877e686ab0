//! The limits of two routes of the same request, before and after.

use super::Change;
use super::route::number;
use portcullis_core::{
    Access, Limit, LimitAlgorithm, LimitBy, LimitOutage, LimitTiming, Period, Route,
};
use std::collections::{BTreeSet, HashMap};

/// Compares the limits of an old and a new route.
pub(super) fn compare(old: &Route, new: &Route, shared: &SharedLimits<'_>) -> Vec<Change> {
    let mut changes = compare_lists(&old.limits, &new.limits, "", shared);
    let is_optional = [old, new].iter().any(|route| route.access == Access::Optional);
    if let (true, Some(limits)) = (is_optional, anonymous(new)) {
        let old = anonymous(old).unwrap_or_default();
        changes.extend(compare_lists(old, limits, "without a token: ", shared));
    }
    changes
}

/// Returns the limits of requests without a token. Returns `None` if the route refuses them.
fn anonymous(route: &Route) -> Option<&[Limit]> {
    match route.access {
        Access::Protected | Access::Deny => None,
        Access::Optional => Some(&route.anonymous_limits),
        Access::Auth | Access::Events | Access::Public => Some(&route.limits),
    }
}

/// Compares two lists of limits. `of` says which requests they count, if not all.
fn compare_lists(old: &[Limit], new: &[Limit], of: &str, shared: &SharedLimits<'_>) -> Vec<Change> {
    let mut changes = Vec::new();
    for limit in old {
        let same = new.iter().find(|other| other.name == limit.name);
        let text = match same {
            None => format!("no longer has the limit {} ({})", limit.name, describe(limit)),
            Some(other) if other != limit => {
                let (old, new) = (describe(limit), describe(other));
                let rest = other_members(limit, other);
                match (old == new, rest.is_empty()) {
                    (true, _) => format!("limits by {}: {rest}", limit.name),
                    (false, true) => format!("limits by {}: {old}, now {new}", limit.name),
                    (false, false) => format!("limits by {}: {old}, now {new}; {rest}", limit.name),
                }
            }
            Some(_) => continue,
        };
        let as_strict = || new.iter().filter(|other| is_as_strict(other, limit));
        let is_kept = limit.shadow || as_strict().any(|other| shared.count_together(limit, other));
        let split = match !is_kept && as_strict().next().is_some() {
            true => "; requests that it counted together are counted apart",
            false => "",
        };
        changes.push(Change { is_same_or_stricter: is_kept, text: format!("{of}{text}{split}") });
    }
    for limit in new {
        if !old.iter().any(|other| other.name == limit.name) {
            let text = format!("{of}has a new limit {} ({})", limit.name, describe(limit));
            changes.push(Change::other(text));
        }
    }
    changes
}

/// Returns whether `new` admits no more of the requests that it counts than `old`.
fn is_as_strict(new: &Limit, old: &Limit) -> bool {
    let outage = |limit: &Limit| match limit.on_store_outage {
        LimitOutage::Deny => 0,
        LimitOutage::Local => 1,
        LimitOutage::Allow => 2,
    };
    let burst = |limit: &Limit| limit.burst.unwrap_or(limit.quota);
    !new.shadow
        && new.by == old.by
        && (new.algorithm, new.timing) == (old.algorithm, old.timing)
        && (new.period, new.overrides) == (old.period, old.overrides)
        && (&new.plans, new.local_quota) == (&old.plans, old.local_quota)
        && !new.has_higher_rate_than(old)
        && burst(new) <= burst(old)
        && outage(new) <= outage(old)
}

/// The limits of the old policy that several routes name, or one route in both of its lists. Each
/// has the new limits that all of these name, and that count the same requests together.
pub(super) struct SharedLimits<'p>(HashMap<&'p str, BTreeSet<&'p str>>);

impl<'p> SharedLimits<'p> {
    /// Compares the limits of each old route with those of each new one that takes some of its
    /// requests.
    pub(super) fn of(moves: impl Iterator<Item = (&'p Route, &'p Route)>) -> Self {
        let mut uses: HashMap<&str, BTreeSet<(&str, bool)>> = HashMap::new();
        let mut common: HashMap<&str, BTreeSet<&str>> = HashMap::new();
        for (before, after) in moves {
            let lists = [
                (&before.limits, Some(after.limits.as_slice()), false),
                (&before.anonymous_limits, anonymous(after), true),
            ];
            for (old, new, is_anonymous) in lists {
                for limit in old {
                    uses.entry(&limit.name).or_default().insert((&before.name, is_anonymous));
                    // Requests that are refused need no count.
                    let Some(new) = new else {
                        continue;
                    };
                    let names = || new.iter().map(|limit| limit.name.as_str());
                    let common = common.entry(&limit.name).or_insert_with(|| names().collect());
                    common.retain(|name| names().any(|own| own == *name));
                }
            }
        }
        common.retain(|name, _| uses.get(name).is_some_and(|uses| uses.len() > 1));
        Self(common)
    }

    /// Returns whether `new` counts the requests together that the shared limit `old` counted.
    /// Returns `true` for a limit that is not shared.
    fn count_together(&self, old: &Limit, new: &Limit) -> bool {
        // Each route has a count of its own.
        old.by.contains(&LimitBy::Route)
            || self.0.get(old.name.as_str()).is_none_or(|names| names.contains(new.name.as_str()))
    }
}

fn describe(limit: &Limit) -> String {
    let by: Vec<String> = limit.by.iter().map(name_of).collect();
    let burst = limit.burst.map(|burst| format!(", {burst} at once")).unwrap_or_default();
    let shadow = if limit.shadow { ", counted only" } else { "" };
    let outage = match limit.on_store_outage {
        LimitOutage::Allow => "all pass",
        LimitOutage::Deny => "none passes",
        LimitOutage::Local => "each isolate counts",
    };
    let quota = match (limit.period, limit.algorithm) {
        (Some(period), LimitAlgorithm::Credits) => {
            format!("{} {}, then credits,", limit.quota, a_period(period))
        }
        (Some(period), _) => format!("{} {}", limit.quota, a_period(period)),
        (None, LimitAlgorithm::Credits) => "credits".to_owned(),
        (None, _) => format!("{} in {} s", limit.quota, limit.window_seconds),
    };
    let by = by.join(" and ");
    format!("{quota} by {by}{burst}{shadow}; while the store is unavailable, {outage}")
}

fn a_period(period: Period) -> &'static str {
    match period {
        Period::Day => "a day",
        Period::Month => "a month",
    }
}

/// Describes what [`describe`] leaves out, where it differs.
fn other_members(old: &Limit, new: &Limit) -> String {
    let mut texts = Vec::new();
    if old.algorithm != new.algorithm {
        texts.push(format!("counts by {:?}, now {:?}", old.algorithm, new.algorithm));
    }
    if old.timing != new.timing {
        texts.push(match new.timing {
            LimitTiming::Exact => "counts before the verdict".to_owned(),
            LimitTiming::Leased { seconds } => format!("is leased for {seconds} s"),
        });
    }
    if old.local_quota != new.local_quota {
        let (old, new) = (number(old.local_quota), number(new.local_quota));
        texts.push(format!("local_quota: {old}, now {new}"));
    }
    if old.plans != new.plans {
        texts.push(format!("plans: {}, now {}", plans(old), plans(new)));
    }
    if old.overrides != new.overrides {
        texts.push(match new.overrides {
            true => "takes other quotas for single callers".to_owned(),
            false => "no longer takes other quotas for single callers".to_owned(),
        });
    }
    if old.headers != new.headers {
        texts.push(match new.headers {
            true => "shows what is left in each response".to_owned(),
            false => "no longer shows what is left".to_owned(),
        });
    }
    texts.join("; ")
}

fn plans(limit: &Limit) -> String {
    let Some(plans) = &limit.plans else {
        return "none".to_owned();
    };
    let quotas = plans.quotas.iter().map(|(value, quota)| format!("{value} {quota}"));
    format!("by {}, {}", plans.claim, quotas.collect::<Vec<_>>().join(" and "))
}

fn name_of(by: &LimitBy) -> String {
    match by {
        LimitBy::Address => "address".to_owned(),
        LimitBy::Subject => "subject".to_owned(),
        LimitBy::Client => "client".to_owned(),
        LimitBy::Session => "session".to_owned(),
        LimitBy::Key => "key".to_owned(),
        LimitBy::Country => "country".to_owned(),
        LimitBy::Asn => "asn".to_owned(),
        LimitBy::Route => "route".to_owned(),
        LimitBy::Claim(name) => format!("claim {name}"),
        LimitBy::Header(name) => format!("header {name}"),
    }
}
