//! `LIMITS`, and the limits of single routes.

use super::fault::Fault;
use super::is_safe_name;
use super::reader::Reader;
use super::routes::is_token;
use crate::limit::{Algorithm, Count, Limit, LimitBy, LimitOutage, Plans};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimit {
    pub(super) name: Option<String>,
    #[serde(default)]
    algorithm: Algorithm,
    quota: u32,
    window_seconds: u32,
    burst: Option<u32>,
    by: Value,
    plans: Option<RawPlans>,
    #[serde(default)]
    shadow: bool,
    #[serde(default)]
    headers: bool,
    #[serde(default)]
    outage: LimitOutage,
    local_quota: Option<u32>,
    #[serde(default)]
    count: Count,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlans {
    claim: String,
    quotas: BTreeMap<String, u32>,
}

impl<L: Fn(&str) -> Option<String>> Reader<L> {
    /// The limits that routes share, by their names.
    pub(super) fn limits(&mut self) -> Vec<Limit> {
        let mut limits: Vec<Limit> = Vec::new();
        if self.optional("LIMITS").is_none() {
            return limits;
        }
        for (place, raw) in self.list::<RawLimit>("LIMITS") {
            let name = raw.name.clone().unwrap_or_default();
            if !is_safe_name(&name) {
                self.fault(format!("{place}.name"), Fault::UnsafeName);
            }
            if limits.iter().any(|other| other.name == name) {
                self.fault(format!("{place}.name"), Fault::Duplicate);
            }
            limits.push(self.limit(&place, name, raw));
        }
        limits
    }

    /// A limit of that name.
    pub(super) fn limit(&mut self, place: &str, name: String, raw: RawLimit) -> Limit {
        self.within(format!("{place}.quota"), raw.quota, 1, QUOTA_MAX);
        self.within(format!("{place}.window_seconds"), raw.window_seconds, 1, 86_400);
        for (member, number) in [("burst", raw.burst), ("local_quota", raw.local_quota)] {
            if let Some(number) = number {
                self.within(format!("{place}.{member}"), number, 1, QUOTA_MAX);
            }
        }
        if raw.burst.is_some() && !raw.algorithm.has_burst() {
            self.fault(format!("{place}.burst"), Fault::NoBurst);
        }
        if raw.algorithm != Algorithm::FixedWindow && !self.has_scripts() {
            self.fault(format!("{place}.algorithm"), Fault::NotWithMemcached);
        }
        let by = match raw.by {
            Value::Array(values) => values,
            value => vec![value],
        };
        if by.is_empty() {
            self.fault(format!("{place}.by"), Fault::Empty);
        }
        let mut parts: Vec<LimitBy> = Vec::new();
        for value in by {
            match serde_json::from_value(value) {
                Ok(part) if parts.contains(&part) => {
                    self.fault(format!("{place}.by"), Fault::Duplicate);
                }
                Ok(LimitBy::Header(name)) if !is_token(&name) => {
                    self.fault(format!("{place}.by"), Fault::NotAField);
                }
                Ok(part) => parts.push(part),
                Err(error) => self.fault(format!("{place}.by"), Fault::Shape(error.to_string())),
            }
        }
        if raw.count == Count::Async {
            for (member, given) in [("headers", raw.headers), ("shadow", raw.shadow)] {
                if given {
                    self.fault(format!("{place}.{member}"), Fault::NotAsync);
                }
            }
        }
        let plans = raw.plans.map(|plans| {
            if plans.claim.is_empty() {
                self.fault(format!("{place}.plans.claim"), Fault::Empty);
            }
            if plans.quotas.is_empty() {
                self.fault(format!("{place}.plans.quotas"), Fault::Empty);
            }
            for (plan, quota) in &plans.quotas {
                self.within(format!("{place}.plans.quotas.{plan}"), *quota, 1, QUOTA_MAX);
            }
            Plans { claim: plans.claim, quotas: plans.quotas.into_iter().collect() }
        });
        Limit {
            name,
            algorithm: raw.algorithm,
            quota: raw.quota,
            window_seconds: raw.window_seconds,
            burst: raw.burst,
            by: parts,
            plans,
            shadow: raw.shadow,
            headers: raw.headers,
            outage: raw.outage,
            local_quota: raw.local_quota,
            count: raw.count,
        }
    }
}

const QUOTA_MAX: u32 = 1_000_000;
