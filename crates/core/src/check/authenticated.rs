//! An authenticated request, and the limits that apply to it.

use crate::limits::check::LimitCheck;
use crate::limits::lease::{Granted, Leases, Spend};
use crate::limits::owed::OwedUntil;
use crate::policy::route::TokenRequirement;
use crate::time::UnixSeconds;
use crate::token::verified::VerifiedToken;
use std::rc::Rc;

/// A request whose token is verified and within its lifetime, or whose route requires none.
#[derive(Debug)]
pub struct AuthenticatedRequest<'p> {
    pub(super) verified: Option<Rc<VerifiedToken>>,
    /// The requirement for which the store cleared the token recently.
    pub(super) cleared: Option<TokenRequirement>,
    pub(super) limit_checks: Vec<LimitCheck<'p>>,
    pub(super) now: UnixSeconds,
}

impl<'p> AuthenticatedRequest<'p> {
    /// Returns the caller's token, if the route requires one.
    pub fn verified(&self) -> Option<&Rc<VerifiedToken>> {
        self.verified.as_ref()
    }

    /// Returns whether the same limits count both requests, by the same keys and quotas.
    pub fn has_limits_of(&self, other: &Self) -> bool {
        let keys =
            |own: &Self| own.limit_checks.iter().map(LimitCheck::bucket_key).collect::<Vec<_>>();
        keys(self) == keys(other)
    }

    /// Takes the limit checks of the request as it was authenticated before, with their leases.
    pub fn with_limits_of(self, before: Self) -> Self {
        Self { limit_checks: before.limit_checks, ..self }
    }

    /// Spends the isolate's leases: each limit that has one admits the request without the store.
    /// Returns the questions by which leases are renewed in the background.
    pub fn spend_leases(
        &mut self,
        leases: &mut Leases,
        owed: &mut OwedUntil,
        now_ms: u64,
    ) -> Vec<LimitCheck<'p>> {
        let mut questions = Vec::new();
        for limit_check in &mut self.limit_checks {
            limit_check.owes_nothing = owed.owes_nothing(limit_check.key, now_ms);
            let Some(terms) = limit_check.terms else {
                continue;
            };
            match leases.spend(limit_check.lease_key(), terms, limit_check.cost, now_ms) {
                Spend::Admitted { left, more_ms, quota, ahead } => {
                    if ahead > 0 {
                        questions.push(LimitCheck { cost: 0, ahead, ..limit_check.clone() });
                    }
                    let lease = Granted { left, more_ms, quota, ..Granted::default() };
                    limit_check.lease = Some(lease);
                }
                Spend::Ask { ahead } => limit_check.ahead = ahead,
            }
        }
        questions
    }

    /// Returns the limits that the store must count.
    pub fn limit_checks(&self) -> impl Iterator<Item = &LimitCheck<'p>> {
        self.limit_checks.iter().filter(|limit_check| limit_check.lease.is_none())
    }

    /// Returns all limits.
    pub fn all_limit_checks(&self) -> impl Iterator<Item = &LimitCheck<'p>> {
        self.limit_checks.iter()
    }
}
