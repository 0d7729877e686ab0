//! A limit as applied to one request: the key that it counts, the store's command, and the
//! decision.

use super::key::plain;
use super::lease::{Granted, LeaseKey, LeaseTerms, combined};
use super::local::LocalCount;
use crate::policy::limit::{Algorithm, Limit};
use crate::refusal::Denial;
use crate::store::keys::StoreKeys;
use crate::token::claims::Claims;
use redis_rest::{Command, Reply};

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
    /// Whether the caller is an API key with a quota of its own, which may change.
    pub is_own: bool,
    /// How much of the quota the request takes, 1 to 1,000,000; 0 for a question about a lease.
    pub cost: u32,
    /// How the limit is leased; `None` if the store counts each request by itself.
    pub terms: Option<LeaseTerms>,
    /// How much the store shall count in advance, for requests to come.
    pub ahead: u32,
    /// The lease that admits the request; `None` if the store must count it.
    pub lease: Option<Granted>,
    /// Whether the key is likely to owe nothing, so that the store has no state of it.
    pub owes_nothing: bool,
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
    /// The quota that applied: the check's, or the caller's own in the store; of credits, with all
    /// that was granted.
    pub quota: u32,
    /// Whether the store decided on this request, and not an isolate.
    pub by_store: bool,
    /// Whether the request is within the limit.
    pub admitted: bool,
    /// How much of the quota is left, in requests of cost 1; `None` if that is not known.
    pub left: Option<u64>,
    /// The time until this request would be admitted, in milliseconds; 0 if it is admitted, or if
    /// no time brings that. At most a month.
    pub wait_ms: u64,
    /// The time until more is left, in milliseconds. At most a month.
    pub more_ms: u64,
}

impl Limit {
    /// Returns the API key's own quota, if it has one. Credits that nothing refills have no quota.
    pub(crate) fn own_quota(&self, claims: &Claims) -> Option<u32> {
        let quotas = &claims.key.as_ref().filter(|_| self.quota > 0)?.quotas;
        let (_, quota) = quotas.iter().find(|(name, _)| *name == self.name)?;
        Some((*quota).clamp(1, QUOTA_MAX))
    }

    /// Returns the quota for a token's claims: that of the API key, or else that of the plan.
    pub(crate) fn quota_for(&self, claims: Option<&Claims>) -> u32 {
        if let Some(quota) = claims.and_then(|claims| self.own_quota(claims)) {
            return quota;
        }
        let planned = self.plans.as_ref().and_then(|plans| {
            let plan = plain(claims?.others.get(&plans.claim)?);
            plans.quotas.iter().find(|(name, _)| *name == plan).map(|(_, quota)| *quota)
        });
        planned.unwrap_or(self.quota)
    }
}

/// Returns the refusal by limits: for each, its wait in milliseconds, and whether it counts
/// credits. Returns `None` if there are none. Where credits are exhausted and no time brings more,
/// no wait helps.
pub fn refusal_by_limits(refused: impl IntoIterator<Item = (u64, bool)>) -> Option<Denial> {
    let (mut longest, mut is_credits, mut is_endless) = (None, false, false);
    for (wait_ms, of_credits) in refused {
        longest = longest.max(Some(wait_ms));
        is_credits |= of_credits;
        is_endless |= of_credits && wait_ms == 0;
    }
    let wait_ms = longest?;
    Some(match is_credits {
        true => Denial::CreditsExhausted { wait_ms: if is_endless { 0 } else { wait_ms } },
        false => Denial::RateLimited { wait_ms },
    })
}

impl<'p> LimitCheck<'p> {
    /// Returns the store's command that counts the request.
    pub fn command(&self) -> Command {
        let (limit, state) = (self.limit, self.store_key());
        let command = Command::new("EVALSHA").arg(limit.script_sha1());
        let command = match limit.overrides || limit.algorithm == Algorithm::Credits {
            true => command.arg(2).arg(&state).arg(self.keys.quota(&state)),
            false => command.arg(1).arg(state),
        };
        let command = command.arg(limit.algorithm.name());
        if limit.algorithm.is_calendar() {
            let command = command.arg(limit.period_name()).arg(self.quota);
            return command.arg(self.cost).arg(self.ahead);
        }
        let command = command
            .arg(self.quota)
            .arg(u64::from(limit.window_seconds) * 1000)
            .arg(self.cost)
            .arg(self.burst(self.quota));
        // The state may be that of another quota: of a plan, or of the API key before a change.
        let is_shared = limit.plans.is_some() || self.is_own;
        let is_guessed = self.owes_nothing && self.may_guess();
        match (self.ahead, is_shared, is_guessed) {
            (0, false, false) => command,
            (ahead, false, false) => command.arg(ahead),
            (ahead, true, false) => command.arg(ahead).arg(1),
            (ahead, _, true) => command.arg(ahead).arg(u8::from(is_shared)).arg(1),
        }
    }

    /// Returns whether the script may guess that there is no state. With overrides, it reads the
    /// state with them.
    fn may_guess(&self) -> bool {
        self.limit.algorithm.has_burst() && !self.limit.overrides
    }

    /// Returns how long the key owes something after the store's reply, in milliseconds, at most a
    /// few too many. Returns `None` if that decides no guess, or the reply is malformed.
    pub(super) fn owed_ms(&self, reply: &Reply) -> Option<u64> {
        let decision = self.decision(reply).filter(|_| self.may_guess())?;
        let owed = u64::from(self.burst(decision.quota)).saturating_sub(decision.left?);
        let window_ms = u64::from(self.limit.window_seconds) * 1000;
        Some(owed * window_ms / u64::from(decision.quota.max(1)))
    }

    /// Returns the burst that all charges are made against.
    fn burst(&self, quota: u32) -> u32 {
        let reserve = self.terms.map_or(0, |terms| terms.reserve);
        self.limit.burst_of(quota).saturating_sub(reserve)
    }

    /// Returns what the check's lease is for.
    pub fn lease_key(&self) -> LeaseKey {
        LeaseKey { key: self.key, quota: self.quota }
    }

    /// Returns the store's key of the limit's state.
    pub fn store_key(&self) -> String {
        self.keys.limit(&self.limit.name, self.limit.state_name(), &self.key)
    }

    /// Reads what the script took in advance. Returns `None` if the reply is malformed.
    pub fn granted(&self, reply: &Reply) -> Option<Granted> {
        let decision = self.decision(reply)?;
        let Reply::Array(fields) = reply else {
            return None;
        };
        let (units, ends_ms) = match fields.as_slice() {
            [_, _, _, _, Reply::Integer(units), Reply::Integer(ends_ms), ..] => (*units, *ends_ms),
            _ => (0, 0),
        };
        Some(Granted {
            // More than was asked for is not believed.
            units: u32::try_from(units).ok()?.min(self.ahead),
            ends_ms: u64::try_from(ends_ms).ok()?,
            left: decision.left.unwrap_or_default(),
            more_ms: decision.more_ms,
            quota: decision.quota,
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
        let applied = fields.get(6).and_then(number).filter(|applied| *applied > 0);
        let applied = applied.map(|applied| u32::try_from(applied).unwrap_or(u32::MAX));
        match fields.as_slice() {
            [Reply::Integer(admitted @ (0 | 1)), left, wait, more, ..] => Some(LimitDecision {
                limit: self.limit,
                bucket_key: self.bucket_key(),
                quota: applied.unwrap_or(self.quota),
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
            quota: lease.quota,
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

/// The most that the policy accepts as a quota, too.
const QUOTA_MAX: u32 = 1_000_000;
/// The longest month, which is more than two windows of a day each. A longer wait in a store's
/// reply is cut to this.
const WAIT_MS_MAX: u64 = 31 * 86_400_000;

#[cfg(test)]
mod tests;
