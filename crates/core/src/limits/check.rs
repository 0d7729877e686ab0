//! A limit as applied to one request: the key that it counts, the store's command, and the
//! decision.

use super::lease::{Granted, LeaseKey, LeaseTerms, combined};
use super::local::LocalCount;
use crate::json;
use crate::policy::limit::{Limit, LimitBy};
use crate::request::head::RequestHead;
use crate::store::keys::StoreKeys;
use crate::store::script;
use crate::token::claims::Claims;
use redis_rest::{Command, Reply};
use serde_json::Value;

/// The script that counts one request, by every algorithm. The store runs it atomically, by its own
/// clock.
pub const LIMIT_SCRIPT: &str = script::text(&SCRIPT);
const SCRIPT: [u8; script::bare_bytes(SOURCE)] = script::bare(SOURCE);
const SOURCE: &str = include_str!("limit.lua");

/// The first line with which the script is sent. Without it, Upstash runs a script under a lock of
/// the whole database. The redis gateway removes it, and Redis itself refuses it.
pub const KEY_LOCKING: &str = "#!lua flags=allow-key-locking\n";

/// The SHA-1 in hexadecimal of [`KEY_LOCKING`] and the script, by which `EVALSHA` calls it.
pub const LOCKING_LIMIT_SCRIPT_SHA1: &str = "f868b17bbb4a4eae42605fd08414d7bd0ea5eeff";

/// The SHA-1 of the script alone, for stores that refuse the first line.
pub const LIMIT_SCRIPT_SHA1: &str = "90db7b563b5924299dec29bc1f41445fd41a434d";

/// A limit that applies to a request.
#[derive(Clone, Debug)]
pub struct LimitCheck<'p> {
    /// The limit.
    pub limit: &'p Limit,
    /// The names of the store's keys.
    pub keys: &'p StoreKeys,
    /// The SHA-256 of the counted key.
    pub key: [u8; 32],
    /// The quota that applies, in requests per window: the limit's, or a plan's.
    pub quota: u32,
    /// How much of the quota the request takes, 1 to 1,000,000; 0 for a question about a lease.
    pub cost: u32,
    /// How the limit is leased; `None` if the store counts each request by itself.
    pub terms: Option<LeaseTerms>,
    /// How much the store shall count in advance, for requests to come.
    pub ahead: u32,
    /// The lease that admits the request; `None` if the store must count it.
    pub lease: Option<Granted>,
}

/// What a refusal applies to: if the store refuses one request, it refuses the next with the same
/// key, quota and cost.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct BucketKey {
    /// The hash of the counted key.
    pub key: [u8; 32],
    /// The quota that applies.
    pub quota: u32,
    /// The cost of the request.
    pub cost: u32,
}

impl From<BucketKey> for [u8; 32] {
    fn from(own: BucketKey) -> Self {
        combined(own.key, u64::from(own.quota) << 32 | u64::from(own.cost))
    }
}

/// A limit's decision on one request.
#[derive(Clone, Debug)]
pub struct LimitDecision<'p> {
    /// The limit.
    pub limit: &'p Limit,
    /// The bucket that the decision is for.
    pub bucket_key: BucketKey,
    /// The quota that applies.
    pub quota: u32,
    /// Whether the store decided on this request, and not an isolate.
    pub by_store: bool,
    /// Whether the request is within the limit.
    pub admitted: bool,
    /// How much of the quota is left, in requests of cost 1; `None` if that is not known.
    pub left: Option<u64>,
    /// The time until this request would be admitted, in milliseconds; 0 if it is admitted. At most
    /// two days.
    pub wait_ms: u64,
    /// The time until more is left, in milliseconds. At most two days.
    pub more_ms: u64,
}

/// The parts of a request that limits can count.
pub(crate) struct LimitInput<'a> {
    pub(crate) head: &'a RequestHead<'a>,
    pub(crate) address: &'a str,
    pub(crate) route: &'a str,
    pub(crate) claims: Option<&'a Claims>,
}

impl LimitInput<'_> {
    /// Returns the client's country; an empty text if it is unknown.
    fn country(&self) -> String {
        self.head.location().country().map_or(String::new(), |own| own.as_str().to_owned())
    }

    /// Returns the number of the client's autonomous system; an empty text if it is unknown.
    fn asn(&self) -> String {
        self.head.location().asn().map_or(String::new(), |own| own.to_string())
    }
}

impl Limit {
    /// Returns the counted key of a request. A line break ends each part: no header field can
    /// contain one, and in a claim it is escaped.
    pub(crate) fn key(&self, input: &LimitInput<'_>) -> String {
        let mut key = String::new();
        for by in &self.by {
            let claims = input.claims;
            let (issuer, name) = match by {
                LimitBy::Address => ("", input.address.to_owned()),
                LimitBy::Route => ("", input.route.to_owned()),
                LimitBy::Header(name) => {
                    ("", input.head.header(name).unwrap_or_default().to_owned())
                }
                LimitBy::Subject => with_issuer(claims, |claims| {
                    claims.subject().map(str::to_owned).or_else(|| claims.client_id.clone())
                }),
                LimitBy::Client => with_issuer(claims, |claims| claims.client_id.clone()),
                LimitBy::Session => with_issuer(claims, |claims| claims.sid.clone()),
                LimitBy::Key => {
                    with_issuer(claims, |claims| claims.key.as_ref().and(claims.jti.clone()))
                }
                LimitBy::Country => ("", input.country()),
                LimitBy::Asn => ("", input.asn()),
                LimitBy::Claim(name) => {
                    with_issuer(claims, |claims| claims.others.get(name).map(plain))
                }
            };
            let name = name.replace('\\', "\\\\").replace('\n', "\\n");
            // A client that acts for itself may have the same name as a user. No escaped name
            // begins like this.
            let is_client =
                *by == LimitBy::Subject && claims.is_some_and(|claims| claims.subject().is_none());
            let mark = if is_client { "\\client:" } else { "" };
            for part in [issuer, "\n", mark, &name, "\n"] {
                key.push_str(part);
            }
        }
        key
    }

    /// Returns the quota for a token's claims, by its plan.
    pub(crate) fn quota_for(&self, claims: Option<&Claims>) -> u32 {
        let planned = self.plans.as_ref().and_then(|plans| {
            let plan = plain(claims?.others.get(&plans.claim)?);
            plans.quotas.iter().find(|(name, _)| *name == plan).map(|(_, quota)| *quota)
        });
        planned.unwrap_or(self.quota)
    }
}

impl<'p> LimitCheck<'p> {
    /// Returns the store's command that counts the request.
    pub fn command(&self) -> Command {
        let limit = self.limit;
        let reserve = self.terms.map_or(0, |terms| terms.reserve);
        let command = Command::new("EVALSHA")
            .arg(LOCKING_LIMIT_SCRIPT_SHA1)
            .arg(1)
            .arg(self.store_key())
            .arg(limit.algorithm.name())
            .arg(self.quota)
            .arg(u64::from(limit.window_seconds) * 1000)
            .arg(self.cost)
            .arg(limit.burst_of(self.quota).saturating_sub(reserve));
        match (self.ahead, &limit.plans) {
            (0, None) => command,
            (ahead, None) => command.arg(ahead),
            (ahead, Some(_)) => command.arg(ahead).arg(1),
        }
    }

    /// Returns what the check's lease is for.
    pub fn lease_key(&self) -> LeaseKey {
        LeaseKey { key: self.key, quota: self.quota }
    }

    /// Returns the store's key of the limit's state.
    pub fn store_key(&self) -> String {
        self.keys.limit(&self.limit.name, self.limit.algorithm.state_name(), &self.key)
    }

    /// Reads what the script took in advance. Returns `None` if the reply is malformed.
    pub fn granted(&self, reply: &Reply) -> Option<Granted> {
        let decision = self.decision(reply)?;
        let Reply::Array(fields) = reply else {
            return None;
        };
        let (units, ends_ms) = match fields.as_slice() {
            [_, _, _, _, Reply::Integer(units), Reply::Integer(ends_ms)] => (*units, *ends_ms),
            _ => (0, 0),
        };
        Some(Granted {
            // More than was asked for is not believed.
            units: u32::try_from(units).ok()?.min(self.ahead),
            ends_ms: u64::try_from(ends_ms).ok()?,
            left: decision.left.unwrap_or_default(),
            more_ms: decision.more_ms,
        })
    }

    /// Reads the script's reply. Returns `None` if it is malformed, which counts as an outage.
    pub fn decision(&self, reply: &Reply) -> Option<LimitDecision<'p>> {
        let Reply::Array(fields) = reply else {
            return None;
        };
        let number = |field: &Reply| match field {
            Reply::Integer(number) => u64::try_from(*number).ok(),
            _ => None,
        };
        match fields.as_slice() {
            [Reply::Integer(admitted @ (0 | 1)), left, wait, more, ..] => Some(LimitDecision {
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

    /// Returns the decision on a request that a lease admits, if one does. `left` is what the store
    /// had left besides the isolate's leases.
    pub fn leased_decision(&self) -> Option<LimitDecision<'p>> {
        let lease = self.lease?;
        Some(LimitDecision {
            limit: self.limit,
            bucket_key: self.bucket_key(),
            quota: self.quota,
            by_store: false,
            admitted: true,
            left: Some(lease.left),
            wait_ms: 0,
            more_ms: lease.more_ms,
        })
    }

    /// Returns the decision on a request that an isolate counted.
    pub fn local_decision(&self, count: LocalCount) -> LimitDecision<'p> {
        let (admitted, left, wait_ms) = match count {
            LocalCount::Admitted { left } => (true, left, 0),
            LocalCount::Refused { wait_ms } => (false, Some(0), wait_ms),
        };
        LimitDecision {
            limit: self.limit,
            bucket_key: self.bucket_key(),
            quota: self.quota,
            by_store: false,
            admitted,
            left,
            wait_ms,
            more_ms: wait_ms,
        }
    }

    /// Returns the bucket that the request is counted in.
    pub fn bucket_key(&self) -> BucketKey {
        BucketKey { key: self.key, quota: self.quota, cost: self.cost }
    }
}

/// Returns a claim together with its issuer, because two issuers may use the same names.
fn with_issuer(
    claims: Option<&Claims>,
    name: impl Fn(&Claims) -> Option<String>,
) -> (&str, String) {
    match claims {
        Some(claims) => (&claims.iss, name(claims).unwrap_or_default()),
        None => ("", String::new()),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| json::write::text(value), str::to_owned)
}

/// Two windows of a day each. A longer wait in a store's reply is cut to this.
const WAIT_MS_MAX: u64 = 2 * 86_400_000;

#[cfg(test)]
mod tests;
