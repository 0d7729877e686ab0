//! Rate limits: what is counted for whom, and how the store's answer reads. The arithmetic is the
//! script's, which the store runs atomically; [`LocalCounts`] is for what is counted without the store.

use crate::cache::GenerationalCache;
use crate::claims::Claims;
use crate::policy::limit::{Limit, LimitBy};
use crate::request::head::RequestHead;
use redis_rest::{Command, Reply};
use serde_json::Value;

/// The script that counts one request.
pub const LIMIT_SCRIPT: &str = include_str!("limit.lua");

/// The script's SHA-1, by which `EVALSHA` calls it.
pub const LIMIT_SCRIPT_SHA1: &str = "8ef2e7387e53a0c7e0a7464363547ee7cff77d0d";

/// One limit as it applies to one request.
#[derive(Clone, Debug)]
pub struct LimitCheck<'p> {
    /// The limit.
    pub limit: &'p Limit,
    /// The key of the state in the store.
    pub store_key: String,
    /// The hash of the counted caller.
    pub key: [u8; 32],
    /// The quota in force.
    pub quota: u32,
    /// What the request costs.
    pub cost: u32,
}

/// One bucket of a limit: requests with the same key, quota and cost are admitted or refused together.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct BucketKey {
    /// The hash of the counted caller.
    pub key: [u8; 32],
    /// The quota in force.
    pub quota: u32,
    /// The cost of the request.
    pub cost: u32,
}

/// What a limit said of one request.
#[derive(Clone, Debug)]
pub struct LimitDecision<'p> {
    /// The limit.
    pub limit: &'p Limit,
    /// What is refused alike: whom it counts, by which quota, at which cost.
    pub bucket_key: BucketKey,
    /// The quota in force.
    pub quota: u32,
    /// Whether it is the store's word, and not an isolate's.
    pub by_store: bool,
    /// Whether the request is within it.
    pub admitted: bool,
    /// How much is left, if that is known.
    pub left: Option<u64>,
    /// Until this request would be admitted.
    pub wait_ms: u64,
    /// Until more is left.
    pub more_ms: u64,
}

/// What limits are counted for, of one request.
pub(crate) struct LimitInput<'a> {
    pub(crate) head: &'a RequestHead<'a>,
    pub(crate) address: &'a str,
    pub(crate) route: &'a str,
    pub(crate) claims: Option<&'a Claims>,
}

impl Limit {
    /// Whom the limit counts, as one text. A line break ends each part; no field can hold one, and in a claim
    /// it is escaped.
    pub(crate) fn key(&self, of: &LimitInput<'_>) -> String {
        let mut key = String::new();
        for by in &self.by {
            let claims = of.claims;
            let (issuer, name) = match by {
                LimitBy::Address => ("", of.address.to_owned()),
                LimitBy::Route => ("", of.route.to_owned()),
                LimitBy::Header(name) => ("", of.head.header(name).unwrap_or_default().to_owned()),
                LimitBy::Subject => issued(claims, |claims| Some(claims.sub.clone())),
                LimitBy::Client => issued(claims, |claims| claims.client_id.clone()),
                LimitBy::Session => issued(claims, |claims| claims.sid.clone()),
                LimitBy::Claim(name) => issued(claims, |claims| claims.others.get(name).map(plain)),
            };
            let name = name.replace('\\', "\\\\").replace('\n', "\\n");
            for part in [issuer, &name] {
                key.push_str(part);
                key.push('\n');
            }
        }
        key
    }

    /// The quota for a token's holder.
    pub(crate) fn quota_for(&self, claims: Option<&Claims>) -> u32 {
        let planned = self.plans.as_ref().and_then(|plans| {
            let plan = plain(claims?.others.get(&plans.claim)?);
            plans.quotas.iter().find(|(name, _)| *name == plan).map(|(_, quota)| *quota)
        });
        planned.unwrap_or(self.quota)
    }
}

impl<'p> LimitCheck<'p> {
    /// The command that counts the request.
    pub fn command(&self) -> Command {
        let limit = self.limit;
        Command::new("EVALSHA")
            .arg(LIMIT_SCRIPT_SHA1)
            .arg(1)
            .arg(&self.store_key)
            .arg(limit.algorithm.name())
            .arg(self.quota)
            .arg(u64::from(limit.window_seconds) * 1000)
            .arg(self.cost)
            .arg(limit.burst_of(self.quota))
    }

    /// Reads the script's answer; none if it is not one.
    pub fn decision(&self, reply: &Reply) -> Option<LimitDecision<'p>> {
        let Reply::Array(fields) = reply else {
            return None;
        };
        let number = |field: &Reply| match field {
            Reply::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        match fields.as_slice() {
            [Reply::Integer(admitted @ (0 | 1)), left, wait, more] => Some(LimitDecision {
                limit: self.limit,
                bucket_key: self.bucket_key(),
                quota: self.quota,
                by_store: true,
                admitted: *admitted == 1,
                left: Some(number(left)?),
                wait_ms: number(wait)?.min(WAIT_MS_MAX),
                more_ms: number(more)?.min(WAIT_MS_MAX),
            }),
            _ => None,
        }
    }

    /// What is said of a request that an isolate counts or refuses by itself: what is left, or how long nothing
    /// is.
    pub fn local_decision(&self, count: Result<Option<u64>, u64>) -> LimitDecision<'p> {
        let wait_ms = count.err().unwrap_or(0);
        LimitDecision {
            limit: self.limit,
            bucket_key: self.bucket_key(),
            quota: self.quota,
            by_store: false,
            admitted: count.is_ok(),
            left: count.unwrap_or(Some(0)),
            wait_ms,
            more_ms: wait_ms,
        }
    }

    /// What is refused alike.
    pub fn bucket_key(&self) -> BucketKey {
        BucketKey { key: self.key, quota: self.quota, cost: self.cost }
    }
}

/// A claim of whoever issued the token: two issuers may use the same names.
fn issued(claims: Option<&Claims>, name: impl Fn(&Claims) -> Option<String>) -> (&str, String) {
    match claims {
        Some(claims) => (&claims.iss, name(claims).unwrap_or_default()),
        None => ("", String::new()),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What one isolate counts by itself, within a bound: GCRA, in milliseconds.
pub struct LocalCounts {
    arrivals: GenerationalCache<[u8; 32], u64>,
}

impl LocalCounts {
    /// Counts for `keys_max` keys a generation.
    pub fn new(keys_max: usize) -> Self {
        Self { arrivals: GenerationalCache::new(keys_max, usize::MAX) }
    }

    /// Counts one that costs `cost`, where `quota` a window are admitted. The other side of the result is how
    /// long it would have to wait.
    pub fn count(
        &mut self,
        key: [u8; 32],
        (quota, window_seconds, cost): (u32, u32, u32),
        now_ms: u64,
    ) -> Result<u64, u64> {
        let (quota, cost) = (u64::from(quota.max(1)), u64::from(cost));
        let window = u64::from(window_seconds) * 1000 * SUBDIVISION;
        let now = now_ms * SUBDIVISION;
        let interval = (window / quota).max(1);
        let arrival = self.arrivals.get(key, |_| 0).unwrap_or(0);
        let arrival = arrival.clamp(now, now + window);
        let after = arrival + interval * cost;
        let early = after.saturating_sub(now + interval * quota);
        if early > 0 {
            return Err(early.div_ceil(SUBDIVISION));
        }
        self.arrivals.insert(key, after, 0);
        Ok((now + interval * quota - after) / interval)
    }

    /// How long until one more would be admitted, without counting it; 0: now.
    pub fn wait_ms(&mut self, key: [u8; 32], quota: u32, window_seconds: u32, now_ms: u64) -> u64 {
        let window = u64::from(window_seconds) * 1000 * SUBDIVISION;
        let (now, interval) = (now_ms * SUBDIVISION, (window / u64::from(quota.max(1))).max(1));
        let arrival = self.arrivals.get(key, |_| 0).unwrap_or(0).min(now + window);
        let early = (arrival + interval).saturating_sub(now + interval * u64::from(quota));
        early.div_ceil(SUBDIVISION)
    }
}

/// Two windows of a day each: no limit makes anybody wait for longer, whatever a store says.
const WAIT_MS_MAX: u64 = 2 * 86_400_000;
/// Parts of a millisecond in which a local count is exact.
const SUBDIVISION: u64 = 1000;

#[cfg(test)]
mod tests;
