//! `[[limits]]`, and the `limit` of a route.

use super::error::ConfigErrorKind;
use super::object::ObjectReader;
use super::record::{MemberShape, TextFormat};
use super::settings::{SettingsReader, is_safe_name};
use crate::json::path::is_place;
use crate::policy::limit::{Algorithm, Limit, LimitBy, LimitOutage, LimitTiming, Plans};
use crate::request::syntax::is_token;
use serde_json::Value;

/// Reads the limits that routes share.
pub(super) fn read(settings: &mut SettingsReader<'_>) -> Vec<Limit> {
    let mut limits: Vec<Limit> = Vec::new();
    for entry in settings.list("limits") {
        let Some(mut object) = settings.entry(entry, "limit", "name") else {
            continue;
        };
        object.require(&["name"]);
        object.record_format("name", TextFormat::Name);
        let name = object.text("name");
        if name.as_ref().is_some_and(|name| !is_safe_name(name)) {
            object.add_error("name", ConfigErrorKind::UnsafeName);
        }
        if let Some(at) = limits.iter().position(|other| Some(&other.name) == name.as_ref()) {
            object.add_error("name", ConfigErrorKind::SameName(format!("limits[{at}]")));
        }
        limits.push(read_object(object, name.unwrap_or_default()));
    }
    limits
}

/// Reads one limit, which is called `name`: a quota of 1 to 1,000,000 in a window of 1 to 86,400 s.
/// Values that are missing or out of bounds are errors, and replaced by ones within them.
pub(super) fn read_object(mut object: ObjectReader<'_, '_>, name: String) -> Limit {
    object.require(&["quota", "window_seconds", "by"]);
    let quota = object.number("quota", 1, QUOTA_MAX).unwrap_or(QUOTA_MAX);
    let window_seconds = object.number("window_seconds", 1, 86_400).unwrap_or(1);
    let burst = object.number("burst", 1, QUOTA_MAX);
    let local_quota = object.number("local_quota", 1, QUOTA_MAX);
    let algorithm = algorithm(&mut object, burst);
    let by = limit_by(&mut object);
    let (shadow, headers) = (object.flag("shadow"), object.flag("headers"));
    let timing = timing(&mut object, algorithm.unwrap_or_default());
    let plans = object.object("plans").map(plans);
    let on_store_outage =
        object.one_of_or("on_store_outage", &LimitOutage::NAMES, LimitOutage::default());
    object.finish();
    Limit {
        name,
        algorithm: algorithm.unwrap_or_default(),
        quota,
        window_seconds,
        burst,
        by,
        plans,
        shadow,
        headers,
        on_store_outage,
        local_quota,
        timing,
    }
}

/// Reads the algorithm. Returns `None` if it is missing or unknown.
fn algorithm(object: &mut ObjectReader<'_, '_>, burst: Option<u32>) -> Option<Algorithm> {
    let missing = !object.has("algorithm");
    object.record_default_name("algorithm", &Algorithm::NAMES, &Algorithm::default());
    let algorithm = object.one_of("algorithm", &Algorithm::NAMES);
    if let Some(algorithm) = algorithm.or_else(|| missing.then(Algorithm::default)) {
        if burst.is_some() && !algorithm.has_burst() {
            object.add_error("burst", ConfigErrorKind::NoBurst);
        }
        if algorithm != Algorithm::FixedWindow && !object.settings.has_scripts() {
            object.add_error("algorithm", ConfigErrorKind::NotWithMemcached);
        }
    }
    algorithm
}

/// Reads when the store counts. By default a limit is leased if requests need not ask the store
/// about their tokens either, and if the algorithm has a burst that leases can be taken from.
fn timing(object: &mut ObjectReader<'_, '_>, algorithm: Algorithm) -> LimitTiming {
    let has_scripts = object.settings.has_scripts();
    let by_default = object.settings.has_delay() && has_scripts && algorithm.has_burst();
    let timing = object.one_of("timing", &TIMINGS);
    let seconds = object.number("lease_seconds", 1, LEASE_SECONDS_MAX);
    if timing == Some(true) && !has_scripts {
        object.add_error("timing", ConfigErrorKind::NotWithMemcached);
    }
    if timing.unwrap_or(by_default) {
        return LimitTiming::Leased { seconds: seconds.unwrap_or(LEASE_SECONDS) };
    }
    if seconds.is_some() {
        object.add_error("lease_seconds", ConfigErrorKind::NotWithExact);
    }
    LimitTiming::Exact
}

/// Reads one part of the key, or a list of parts.
fn limit_by(object: &mut ObjectReader<'_, '_>) -> Vec<LimitBy> {
    let part = || MemberShape::OneOf(LimitBy::NAMES.split(", ").map(str::to_owned).collect());
    let values = match object.value("by", || MemberShape::OneOrMore(Box::new(part()))) {
        None => return Vec::new(),
        Some(Value::Array(values)) => values,
        Some(value) => vec![value],
    };
    if values.is_empty() {
        object.add_error("by", ConfigErrorKind::Empty);
    }
    let mut parts: Vec<LimitBy> = Vec::new();
    for value in values {
        match value.as_str().and_then(LimitBy::parse) {
            None => object.add_error("by", ConfigErrorKind::NotOneOf(LimitBy::NAMES.to_owned())),
            Some(part) if parts.contains(&part) => {
                object.add_error("by", ConfigErrorKind::Duplicate);
            }
            Some(LimitBy::Header(name)) if !is_token(&name) => {
                object.add_error("by", ConfigErrorKind::NotAField);
            }
            Some(LimitBy::Claim(place)) if !is_place(&place) => {
                object.add_error("by", ConfigErrorKind::NotAPlace);
            }
            Some(part) => parts.push(part),
        }
    }
    parts
}

/// Reads a claim, and the quota for each of its values. A table without quotas is an error.
fn plans(mut object: ObjectReader<'_, '_>) -> Plans {
    object.require(&["claim", "quotas"]);
    let claim = object.place_of_claim("claim").unwrap_or_default();
    let mut quotas = Vec::new();
    let mut none = false;
    let quota = || Box::new(MemberShape::Number { min: 1, max: QUOTA_MAX });
    object.record("quotas", || MemberShape::Map { of: quota(), min: 1 });
    if let Some(mut plans) = object.object("quotas") {
        none = plans.names().is_empty();
        for plan in plans.names() {
            let quota = plans.number(&plan, 1, QUOTA_MAX);
            quotas.extend(quota.map(|quota| (plan, quota)));
        }
        plans.finish();
    }
    if none {
        object.add_error("quotas", ConfigErrorKind::Empty);
    }
    object.finish();
    Plans { claim, quotas }
}

/// The names of timings, each with whether it is leased.
const TIMINGS: [(&str, bool); 2] = [("exact", false), ("leased", true)];
/// How long a lease lasts by default, in seconds.
const LEASE_SECONDS: u32 = 1;
const LEASE_SECONDS_MAX: u32 = 60;
const QUOTA_MAX: u32 = 1_000_000;
