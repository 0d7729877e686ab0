//! The verdict: turns the store's results into a permit, or into a refusal with its reason.

use super::Check;
use super::authenticated::AuthenticatedRequest;
use super::record_state::RecordState;
use super::store_result::StoreResult;
use crate::forward::permit::{Degraded, Permit, Target};
use crate::limits::check::refusal_by_limits;
use crate::policy::limit::{Algorithm, LimitOutage};
use crate::policy::route::{Access, StoreOutage};
use crate::refusal::{Denial, Outage, Refusal};
use crate::token::blocks;
use crate::token::claims::Claims;
use crate::token::revocation;
use crate::token::verified::VerifiedToken;
use serde_json::Value;

/// What confirmed a token.
enum ConfirmedBy {
    Store {
        /// Whether the confirmation may be cached.
        cacheable: bool,
    },
    /// Its provider, in this request.
    Provider,
    /// Its signature alone.
    Signature,
}

impl<'p> Check<'_, 'p> {
    /// Decides on the request, by the results of [`Check::commands`] as [`Check::divide`] returns
    /// them, in that order.
    ///
    /// # Errors
    ///
    /// A [`Denial`] if the token is revoked, not registered or insufficient, if the caller is
    /// blocked, or a limit is exceeded. An [`Outage`] if the store could not be queried and the
    /// route or the limit refuses then. [`Outage::StoreBadResponse`] if there are too few results.
    pub fn decide(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &[StoreResult],
    ) -> Result<Permit<'p>, Refusal> {
        if authenticated.verified.as_ref().map(|verified| verified.hash()) != self.token_hash() {
            // The authentication of one request is not valid for another.
            return Err(Denial::SignatureInvalid.into());
        }
        let (about_token, about_limits) = results
            .split_at_checked(self.token_results(authenticated))
            .ok_or(Outage::StoreBadResponse)?;
        let queried = self.token_to_query(authenticated);
        let (mut cacheable, mut degraded) = (queried.is_some(), Degraded::default());
        if let Some(verified) = queried {
            match self.check_token(verified, about_token, authenticated)? {
                ConfirmedBy::Store { cacheable: by_store } => cacheable = by_store,
                ConfirmedBy::Provider => degraded.token = Some(StoreOutage::Introspect),
                ConfirmedBy::Signature => {
                    cacheable = false;
                    degraded.token = Some(StoreOutage::Signature);
                }
            }
        } else if let Some(StoreResult::Reply(reply)) = about_token.first() {
            blocks::check_address(reply)?;
        }
        if let Some(verified) = &authenticated.verified {
            self.check_claims(verified.claims())?;
        }
        degraded.limit = self.check_limits(authenticated, about_limits)?;
        let (route, policy) = (self.route, self.policy);
        let target = match route.access {
            Access::Auth => Target::Auth(policy.auth.as_ref().ok_or(Outage::AuthUnreachable)?),
            Access::Deny => return Err(Denial::RouteDenied.into()),
            Access::Events => Target::Edge,
            Access::Optional | Access::Protected | Access::Public => {
                Target::Upstream(route.upstream.as_ref().unwrap_or(&policy.upstream))
            }
        };
        let verified = authenticated.verified.clone();
        Ok(Permit { route, target, policy, verified, cacheable, degraded })
    }

    /// Checks that a token is not revoked and, if required, registered. Returns what confirmed it.
    fn check_token(
        &self,
        verified: &VerifiedToken,
        about_token: &[StoreResult],
        authenticated: &AuthenticatedRequest<'_>,
    ) -> Result<ConfirmedBy, Refusal> {
        let (mut confirmed_by, mut outage) = (ConfirmedBy::Store { cacheable: true }, None);
        for (place, result) in about_token.iter().enumerate() {
            let checked = match result {
                StoreResult::Introspected => {
                    confirmed_by = ConfirmedBy::Provider;
                    Ok(())
                }
                StoreResult::Out(outage) => Err(Refusal::Out(*outage)),
                StoreResult::CountedLocally(_) => Err(Refusal::Out(Outage::StoreBadResponse)),
                StoreResult::Reply(reply) if place == 0 => {
                    revocation::check_with_address(verified.claims(), reply)
                }
                StoreResult::Reply(_) | StoreResult::Record(_) => {
                    match self.policy.record_state(result, verified, authenticated.now) {
                        Ok(RecordState::Foreign | RecordState::Missing) => {
                            Err(Refusal::Denied(Denial::TokenNotRegistered))
                        }
                        // A provider's record is as old as its response. Caching the verdict on top
                        // would exceed the bound.
                        Ok(RecordState::Registered { by_provider }) => {
                            if let ConfirmedBy::Store { cacheable } = &mut confirmed_by {
                                *cacheable = !by_provider;
                            }
                            Ok(())
                        }
                        Err(outage) => Err(Refusal::Out(outage)),
                    }
                }
            };
            match checked {
                Ok(()) => {}
                Err(Refusal::Out(found)) => outage = outage.or(Some(found)),
                Err(refusal) => return Err(refusal),
            }
        }
        match outage {
            None => Ok(confirmed_by),
            // The token was cleared recently; the store was queried for limits only.
            Some(_) if self.is_cleared(authenticated) => {
                Ok(ConfirmedBy::Store { cacheable: false })
            }
            Some(_)
                if self.is_signed(verified)
                    && self.route.on_store_outage == StoreOutage::Signature =>
            {
                Ok(ConfirmedBy::Signature)
            }
            Some(outage) => Err(outage.into()),
        }
    }

    /// Checks whether every limit admits the request. Returns what applied to a limit that could
    /// not be counted.
    fn check_limits(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        about_limits: &[StoreResult],
    ) -> Result<Option<LimitOutage>, Refusal> {
        let (mut instead, mut refused) = (None, Vec::new());
        let mut results = about_limits.iter();
        for limit_check in authenticated.limit_checks() {
            let result = results.next().unwrap_or(&StoreResult::Out(Outage::StoreBadResponse));
            let limit = limit_check.limit;
            let mut is_credits = limit.algorithm == Algorithm::Credits;
            let wait_ms = match result {
                StoreResult::Reply(reply) => match limit_check.decision(reply) {
                    Some(decision) => (!decision.admitted).then_some(decision.wait_ms),
                    None if limit.shadow => None,
                    None if limit.on_store_outage == LimitOutage::Allow => {
                        instead = Some(LimitOutage::Allow);
                        None
                    }
                    None => return Err(Outage::StoreBadResponse.into()),
                },
                // A shadow limit refuses no request.
                StoreResult::Out(_) if limit.shadow => None,
                StoreResult::CountedLocally(count) => {
                    is_credits = false;
                    instead = instead.or(Some(LimitOutage::Local));
                    count.wait_ms()
                }
                StoreResult::Out(_) if limit.on_store_outage == LimitOutage::Allow => {
                    instead = Some(LimitOutage::Allow);
                    None
                }
                StoreResult::Out(outage) => return Err((*outage).into()),
                StoreResult::Introspected | StoreResult::Record(_) => {
                    return Err(Outage::StoreBadResponse.into());
                }
            };
            refused.extend(wait_ms.filter(|_| !limit.shadow).map(|wait_ms| (wait_ms, is_credits)));
        }
        match refusal_by_limits(refused) {
            Some(denial) => Err(denial.into()),
            None => Ok(instead),
        }
    }

    /// Checks the scopes and claims that the route requires.
    fn check_claims(&self, claims: &Claims) -> Result<(), Denial> {
        let (all, any) = (&self.route.scopes, &self.route.scopes_any);
        let scoped = all.iter().all(|scope| claims.has_scope(scope))
            && (any.is_empty() || any.iter().any(|scope| claims.has_scope(scope)));
        if !scoped {
            return Err(Denial::ScopeInsufficient);
        }
        let has = |(name, allowed): &(String, Vec<Value>)| claims.has_claim(name, allowed);
        if !self.route.claims.iter().all(has) {
            return Err(Denial::ClaimInsufficient);
        }
        Ok(())
    }
}
