//! An authenticated request, and the limits that apply to it.

use crate::limits::check::LimitCheck;
use crate::policy::limit::LimitTiming;
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
    /// Whether all limits are counted before the verdict.
    pub(super) all_exact: bool,
    pub(super) now: UnixSeconds,
}

impl<'p> AuthenticatedRequest<'p> {
    /// Returns the caller's token, if the route requires one.
    pub fn verified(&self) -> Option<&VerifiedToken> {
        self.verified.as_deref()
    }

    /// Moves all limits before the verdict. An unavailable store would not count them after the
    /// response either, so their `on_store_outage` must apply now.
    pub fn check_all_limits_now(&mut self) {
        self.all_exact = true;
    }

    /// Returns the limits that are counted before the verdict.
    pub fn limit_checks(&self) -> impl Iterator<Item = &LimitCheck<'p>> {
        self.limit_checks
            .iter()
            .filter(|limit_check| self.all_exact || limit_check.limit.timing == LimitTiming::Exact)
    }

    /// Returns the limits that are counted after the response.
    pub fn late_limit_checks(&self) -> impl Iterator<Item = &LimitCheck<'p>> {
        self.limit_checks
            .iter()
            .filter(|limit_check| !self.all_exact && limit_check.limit.timing == LimitTiming::After)
    }
}
