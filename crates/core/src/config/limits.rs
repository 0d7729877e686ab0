//! `[[limits]]`, and the `limit` of a route.

use super::error::ConfigErrorKind;
use super::object::ObjectReader;
use super::record::{MemberShape, TextFormat};
use super::settings::{SettingsReader, is_safe_name};
use crate::json::path::is_place;
use crate::policy::limit::{Algorithm, Limit, LimitBy, LimitOutage, LimitTiming, Period, Plans};
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

/// Reads one limit, which is called `name`: a quota of 1 to 1,000,000 in a window of 1 to 86,400 s
/// or in a period of the calendar, or credits. Values that are missing or out of bounds are errors,
/// and replaced by ones within them.
pub(super) fn read_object(mut object: ObjectReader<'_, '_>, name: String) -> Limit {
    object.require(&["by"]);
    let has_quota = object.has("quota");
    let quota = object.number("quota", 1, QUOTA_MAX);
    let burst = object.number("burst", 1, QUOTA_MAX);
    let local_quota = object.number("local_quota", 1, QUOTA_MAX);
    let algorithm = algorithm(&mut object, burst);
    let Span { window_seconds, period } = span(&mut object, algorithm, has_quota);
    let algorithm = match period {
        Some(_) if algorithm != Some(Algorithm::Credits) => Algorithm::Period,
        _ => algorithm.unwrap_or_default(),
    };
    if algorithm == Algorithm::Period && burst.is_some() {
        object.add_error("burst", ConfigErrorKind::NoBurst);
    }
    let by = limit_by(&mut object);
    let (shadow, headers) = (object.flag("shadow"), object.flag("headers"));
    let overrides = overrides(&mut object, algorithm);
    let timing = timing(&mut object, algorithm);
    let plans = object.object("plans").map(plans);
    let is_balance = algorithm == Algorithm::Credits && period.is_none();
    if is_balance && plans.is_some() {
        object.add_error("plans", ConfigErrorKind::NotThere("without quota and period"));
    }
    // A balance without a refill has no rate that an isolate could count by.
    let outage = if is_balance { LimitOutage::Deny } else { LimitOutage::default() };
    let chosen = object.one_of("on_store_outage", &LimitOutage::NAMES);
    object.record_default_name("on_store_outage", &LimitOutage::NAMES, &LimitOutage::default());
    let on_store_outage = chosen.unwrap_or(outage);
    if is_balance && on_store_outage == LimitOutage::Local && local_quota.is_none() {
        object.add_error("local_quota", ConfigErrorKind::Missing);
    }
    object.finish();
    Limit {
        name,
        algorithm,
        quota: quota.unwrap_or(if is_balance { 0 } else { QUOTA_MAX }),
        window_seconds,
        period,
        overrides,
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

/// The time for which a quota is.
struct Span {
    window_seconds: u32,
    period: Option<Period>,
}

/// Reads the window, or the period instead. A balance of credits may have neither; with a quota it
/// has a period. Adds an error if the quota or its time is missing.
fn span(object: &mut ObjectReader<'_, '_>, algorithm: Option<Algorithm>, has_quota: bool) -> Span {
    let is_credits = algorithm == Some(Algorithm::Credits);
    let has_window = object.has("window_seconds");
    let window_seconds = object.number("window_seconds", 1, 86_400);
    let has_period = object.has("period");
    let period = object.one_of("period", &Period::NAMES);
    if has_period && has_window {
        object.add_error("window_seconds", ConfigErrorKind::NotThere("next to period"));
    } else if is_credits && has_window {
        object.add_error("window_seconds", ConfigErrorKind::NotThere("with credits"));
    } else if !has_period && !has_window && (!is_credits || has_quota) {
        let missing = if is_credits { "period" } else { "window_seconds" };
        object.add_error_if_table(missing, ConfigErrorKind::Missing);
    }
    if !has_quota && (!is_credits || has_period) {
        object.add_error_if_table("quota", ConfigErrorKind::Missing);
    }
    if has_period && !is_credits && algorithm.is_some() {
        object.add_error("algorithm", ConfigErrorKind::NotThere("next to period"));
    }
    if has_period && !object.settings.has_scripts() {
        object.add_error("period", ConfigErrorKind::NotWithMemcached);
    }
    let seconds = match (period, is_credits) {
        (Some(period), _) => period.seconds_max(),
        // An isolate that counts by itself counts a day's.
        (None, true) => 86_400,
        (None, false) => window_seconds.unwrap_or(1),
    };
    Span { window_seconds: seconds, period }
}

/// Reads whether the store may have other quotas for single callers. Of credits it has what was
/// granted there.
fn overrides(object: &mut ObjectReader<'_, '_>, algorithm: Algorithm) -> bool {
    let overrides = object.flag("overrides");
    if overrides && algorithm == Algorithm::Credits {
        object.add_error("overrides", ConfigErrorKind::NotThere("with credits"));
    } else if overrides && !object.settings.has_scripts() {
        object.add_error("overrides", ConfigErrorKind::NotWithMemcached);
    }
    overrides
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
        let is_default_of_period = missing && object.has("period");
        if algorithm != Algorithm::FixedWindow
            && !is_default_of_period
            && !object.settings.has_scripts()
        {
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
