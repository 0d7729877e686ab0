//! `LIMITS`, and the limits of single routes.

use super::error::ConfigErrorKind;
use super::is_safe_name;
use super::members::ObjectReader;
use super::reader::SettingsReader;
use crate::request::syntax::is_token;
use crate::limit::{Algorithm, Limit, LimitBy, LimitOutage, LimitTiming, Plans};
use serde_json::Value;

impl SettingsReader<'_> {
    /// The limits that routes share, by their names.
    pub(super) fn limits(&mut self) -> Vec<Limit> {
        let mut limits: Vec<Limit> = Vec::new();
        for entry in self.list("LIMITS") {
            let Some(mut given) = self.entry(entry) else {
                continue;
            };
            given.need(&["name"]);
            let name = given.text("name");
            if name.as_ref().is_some_and(|name| !is_safe_name(name)) {
                given.report("name", ConfigErrorKind::UnsafeName);
            }
            if limits.iter().any(|other| Some(&other.name) == name.as_ref()) {
                given.report("name", ConfigErrorKind::Duplicate);
            }
            limits.push(given.limit(name.unwrap_or_default()));
        }
        limits
    }
}

impl ObjectReader<'_, '_> {
    /// A limit of that name.
    pub(super) fn limit(&mut self, name: String) -> Limit {
        self.need(&["quota", "window_seconds", "by"]);
        let quota = self.number("quota", 1, QUOTA_MAX).unwrap_or(QUOTA_MAX);
        let window_seconds = self.number("window_seconds", 1, 86_400).unwrap_or(1);
        let burst = self.number("burst", 1, QUOTA_MAX);
        let local_quota = self.number("local_quota", 1, QUOTA_MAX);
        let usual = !self.has("algorithm");
        let algorithm = self.word("algorithm", &Algorithm::WORDS);
        if let Some(algorithm) = algorithm.or_else(|| usual.then(Algorithm::default)) {
            if burst.is_some() && !algorithm.has_burst() {
                self.report("burst", ConfigErrorKind::NoBurst);
            }
            if algorithm != Algorithm::FixedWindow && !self.read.has_scripts() {
                self.report("algorithm", ConfigErrorKind::NotWithMemcached);
            }
        }
        let by = self.limit_by();
        let (shadow, headers) = (self.flag("shadow"), self.flag("headers"));
        let timing = self.word("timing", &LimitTiming::WORDS).unwrap_or_default();
        if timing == LimitTiming::After {
            for (member, given) in [("headers", headers), ("shadow", shadow)] {
                if given {
                    self.report(member, ConfigErrorKind::NotAsync);
                }
            }
        }
        let plans = self.members("plans").map(Plans::read);
        let on_store_outage: LimitOutage =
            self.word("on_store_outage", &LimitOutage::WORDS).unwrap_or_default();
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

    /// One word or several.
    fn limit_by(&mut self) -> Vec<LimitBy> {
        let values = match self.value("by") {
            None => return Vec::new(),
            Some(Value::Array(values)) => values,
            Some(value) => vec![value],
        };
        if values.is_empty() {
            self.report("by", ConfigErrorKind::Empty);
        }
        let mut parts: Vec<LimitBy> = Vec::new();
        for value in values {
            match value.as_str().and_then(LimitBy::parse) {
                None => self.report("by", ConfigErrorKind::NotOneOf(LimitBy::WORDS.to_owned())),
                Some(part) if parts.contains(&part) => {
                    self.report("by", ConfigErrorKind::Duplicate)
                }
                Some(LimitBy::Header(name)) if !is_token(&name) => {
                    self.report("by", ConfigErrorKind::NotAField);
                }
                Some(part) => parts.push(part),
            }
        }
        parts
    }
}

impl Plans {
    fn read(mut given: ObjectReader<'_, '_>) -> Self {
        given.need(&["claim", "quotas"]);
        let claim = given.full_text("claim").unwrap_or_default();
        let mut quotas = Vec::new();
        let mut none = false;
        if let Some(mut plans) = given.members("quotas") {
            none = plans.names().is_empty();
            for plan in plans.names() {
                let quota = plans.number(&plan, 1, QUOTA_MAX);
                quotas.extend(quota.map(|quota| (plan, quota)));
            }
        }
        if none {
            given.report("quotas", ConfigErrorKind::Empty);
        }
        Self { claim, quotas }
    }
}

const QUOTA_MAX: u32 = 1_000_000;
