//! Rate limits: what is counted for whom, and how the store's answer reads. The arithmetic is the
//! script's, which the store runs atomically; [`LocalCounts`] is for what is counted without the store.

use crate::cache::GenerationalCache;
use crate::claims::Claims;
use crate::request::head::RequestHead;
use redis_rest::{Command, Reply};
use serde_json::Value;

/// The script that counts one request.
pub const LIMIT_SCRIPT: &str = include_str!("limit.lua");

/// The script's SHA-1, by which `EVALSHA` calls it.
pub const LIMIT_SCRIPT_SHA1: &str = "8ef2e7387e53a0c7e0a7464363547ee7cff77d0d";

/// How many requests whoever it counts may make.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limit {
    /// The name in the store's keys, in logs and in the `RateLimit` fields.
    pub name: String,
    /// What "how many" means over time.
    pub algorithm: Algorithm,
    /// Requests per window, 1 to 1,000,000.
    pub quota: u32,
    /// The window, 1 to 86,400 seconds.
    pub window_seconds: u32,
    /// How many at once, where the algorithm knows that; otherwise the quota.
    pub burst: Option<u32>,
    /// For whom is counted.
    pub by: Vec<LimitBy>,
    /// Other quotas, by what a claim says.
    pub plans: Option<Plans>,
    /// It counts and tells what it would have refused, and refuses nothing.
    pub shadow: bool,
    /// Good answers tell the quota, too.
    pub headers: bool,
    /// What holds while the store can't count.
    pub on_store_outage: LimitOutage,
    /// The quota in one isolate, while the store can't count and the isolate does.
    pub local_quota: Option<u32>,
    /// When the store counts.
    pub timing: LimitTiming,
}

/// What "how many" means over time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Algorithm {
    /// A window begins with its first request, and has the whole quota.
    FixedWindow,
    /// The generic cell rate algorithm: one request each `window / quota` on average, `burst` at once.
    #[default]
    Gcra,
    /// The count of this window, and as much of the last one's as lies within a window's length.
    SlidingWindow,
    /// `burst` tokens at the most, `quota` new ones a window: GCRA seen from its other side.
    TokenBucket,
}

impl Algorithm {
    pub(crate) const WORDS: [(&str, Self); 4] = [
        ("fixed_window", Self::FixedWindow),
        ("gcra", Self::Gcra),
        ("sliding_window", Self::SlidingWindow),
        ("token_bucket", Self::TokenBucket),
    ];

    fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, own)| *own == self).map_or("", |(name, _)| name)
    }

    /// Whether it knows a burst other than its quota.
    pub(crate) fn has_burst(self) -> bool {
        matches!(self, Self::Gcra | Self::TokenBucket)
    }
}

/// For whom a limit counts; several together count each combination apart.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LimitBy {
    /// The client's address; IPv6 by /64, which is what one subscriber has.
    Address,
    /// The verified subject.
    Subject,
    /// The client that the token was given to.
    Client,
    /// The session.
    Session,
    /// The route.
    Route,
    /// A claim of the verified token.
    Claim(String),
    /// A header field of the request.
    Header(String),
}

impl LimitBy {
    pub(crate) const WORDS: &str =
        "address, subject, client, session, route, claim:NAME, header:NAME";

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match (text, text.split_once(':')) {
            ("address", _) => Self::Address,
            ("subject", _) => Self::Subject,
            ("client", _) => Self::Client,
            ("session", _) => Self::Session,
            ("route", _) => Self::Route,
            (_, Some(("claim", name))) if !name.is_empty() => Self::Claim(name.to_owned()),
            (_, Some(("header", name))) if !name.is_empty() => {
                Self::Header(name.to_ascii_lowercase())
            }
            _ => return None,
        })
    }

    /// Whether only a verified token says it.
    pub(crate) fn needs_token(&self) -> bool {
        matches!(self, Self::Subject | Self::Client | Self::Session | Self::Claim(_))
    }
}

/// Quotas by what a claim says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plans {
    /// The claim.
    pub claim: String,
    /// Its values, each with a quota.
    pub quotas: Vec<(String, u32)>,
}

/// What holds for a limit while the store can't count.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LimitOutage {
    /// Nothing is limited.
    Allow,
    /// Nothing passes.
    Deny,
    /// Each isolate counts by itself.
    #[default]
    Local,
}

impl LimitOutage {
    pub(crate) const WORDS: [(&str, Self); 3] =
        [("allow", Self::Allow), ("deny", Self::Deny), ("local", Self::Local)];
}

/// When the store counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LimitTiming {
    /// After the answer: what is known by then decides.
    After,
    /// Before the verdict, in its one trip.
    #[default]
    Exact,
}

impl LimitTiming {
    pub(crate) const WORDS: [(&str, Self); 2] = [("after", Self::After), ("exact", Self::Exact)];
}

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

    /// The least that the limit ever admits at once, to whoever it is and whoever counts.
    pub(crate) fn least(&self) -> u32 {
        let plans = self.plans.iter().flat_map(|plans| &plans.quotas).map(|(_, quota)| *quota);
        let bursts = plans.chain([self.quota]).map(|quota| self.burst_of(quota));
        bursts.chain(self.local_quota).min().unwrap_or(0)
    }

    fn burst_of(&self, quota: u32) -> u32 {
        match self.burst {
            // A plan's burst is in the measure of its quota.
            Some(burst) if self.quota != quota => {
                let scaled = u64::from(burst) * u64::from(quota) / u64::from(self.quota.max(1));
                u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
            }
            Some(burst) => burst,
            None => quota,
        }
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
