//! Replacements for the store's results: opened records, introspections and local counts.

use super::Check;
use super::authenticated::AuthenticatedRequest;
use super::record_state::RecordState;
use super::store_result::{Missing, StoreResult};
use crate::limits::check::{LimitCheck, LimitDecision};
use crate::policy::limit::LimitOutage;
use crate::policy::route::StoreOutage;
use crate::refusal::Denial;
use crate::token::record::TokenRecord;
use crate::token::revocation;
use crate::token::unverified::Provider;
use crate::token::verified::VerifiedToken;
use redis_rest::Reply;
use std::rc::Rc;

impl<'h, 'p: 'h> Check<'h, 'p> {
    /// Returns whether the store was queried about the token and replied.
    pub fn is_answered(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &[StoreResult],
    ) -> bool {
        let about = results.get(..self.token_results(authenticated)).unwrap_or_default();
        let out = |result: &StoreResult| {
            matches!(result, StoreResult::Out(_) | StoreResult::Introspected)
        };
        authenticated.verified.is_some() && !about.is_empty() && !about.iter().any(out)
    }

    /// Returns the provider to introspect a verified token, and the reason: the store has no record
    /// of the token, or is unavailable and the route uses introspection then. Returns `None` if the
    /// results suffice, the token is revoked, or its issuer has no introspection.
    pub fn missing_record(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &[StoreResult],
    ) -> Option<(Provider<'h>, Missing)> {
        let verified = self.token_to_query(authenticated)?;
        let introspection = self.issuer(verified.issuer())?.introspection.as_ref()?;
        let (token, _) = self.credential?;
        let (issuer, is_api_key) = (verified.issuer(), verified.is_api_key());
        let provider = Provider { token, issuer, introspection, is_api_key };
        let about = results.get(..self.token_results(authenticated))?;
        if about.iter().any(|result| matches!(result, StoreResult::Out(_))) {
            // Only the limits ask the store about a token that it has confirmed recently.
            let used = !self.is_cleared(authenticated)
                && self.route.on_store_outage == StoreOutage::Introspect;
            return used.then_some((provider, Missing::Store));
        }
        let [StoreResult::Reply(markers), record] = about else {
            return None;
        };
        // A revoked token needs no introspection.
        let found = revocation::find_with_address(verified.claims(), markers);
        let clean = matches!(found, Ok(None));
        let state = self.policy.record_state(record, verified, authenticated.now);
        let missing = clean && matches!(state, Ok(RecordState::Missing));
        missing.then_some((provider, Missing::Record))
    }

    /// Opens the record that the store returned, if it did. Returns whether there was one that
    /// can't be read, which counts as missing.
    pub fn open_record(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &mut [StoreResult],
    ) -> bool {
        let Some(verified) =
            self.token_to_query(authenticated).filter(|verified| self.needs_record(verified))
        else {
            return false;
        };
        let Some(result) = results.get_mut(1) else {
            return false;
        };
        let StoreResult::Reply(reply @ (Reply::Bulk(_) | Reply::Status(_))) = result else {
            return false;
        };
        let text = reply.as_text().unwrap_or_default();
        let record = verified.open(text, verified.record_key(), self.policy.seal.as_ref());
        let unreadable = record.is_none();
        *result = match record {
            Some(record) => StoreResult::Record(record),
            None => StoreResult::Reply(Reply::Null),
        };
        unreadable
    }

    /// Replaces what the store lacks by a provider's response of this moment.
    ///
    /// # Errors
    ///
    /// [`Denial::TokenNotRegistered`] if the response is about another subject.
    pub fn complete(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &mut [StoreResult],
        missing: Missing,
        record: TokenRecord,
    ) -> Result<(), Denial> {
        match missing {
            Missing::Record => {
                if let Some(result) = results.get_mut(1) {
                    *result = StoreResult::Record(Rc::new(record));
                }
            }
            Missing::Store => {
                let own = authenticated.verified.as_ref().map(|own| own.claims());
                if !own.is_some_and(|claims| record.is_about(&claims.sub)) {
                    return Err(Denial::TokenNotRegistered);
                }
                self.accept_introspection(authenticated, results);
                // What an API key may do is in the response.
                let is_api_key =
                    authenticated.verified.as_ref().is_some_and(|own| own.is_api_key());
                if let Some(result) = results.get_mut(1).filter(|_| is_api_key) {
                    *result = StoreResult::Record(Rc::new(record));
                }
            }
        }
        Ok(())
    }

    /// Takes an API key as its issuer described it in this request, instead of its missing record.
    /// Returns `false` for other tokens.
    pub fn keep_known(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &mut [StoreResult],
    ) -> bool {
        let known = authenticated.verified.as_ref().and_then(|own| own.known());
        let record = results.get_mut(1).filter(|_| self.queries_record(authenticated));
        let (Some(known), Some(record)) = (known, record) else {
            return false;
        };
        *record = StoreResult::Record(Rc::clone(known));
        true
    }

    /// Returns the API key as the results describe it; `None` if that is how it was authenticated,
    /// or if the token is not an API key.
    pub fn changed_key(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &[StoreResult],
    ) -> Option<Result<Rc<VerifiedToken>, Denial>> {
        let verified = self.token_to_query(authenticated)?;
        match results.get(1) {
            Some(StoreResult::Record(record)) if !Rc::ptr_eq(record, verified.known()?) => {
                Some(self.accept_key(verified.issuer(), verified.with_text(record)))
            }
            _ => None,
        }
    }

    /// Replaces the missing results about the token, because its provider confirmed it in this
    /// request. The results that the store did return still apply.
    pub fn accept_introspection(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &mut [StoreResult],
    ) {
        for result in results.iter_mut().take(self.token_results(authenticated)) {
            if matches!(result, StoreResult::Out(_)) {
                *result = StoreResult::Introspected;
            }
        }
    }

    /// Returns the limits that the store did not count and the isolate may count, with their places
    /// among the results.
    pub fn uncounted<'q>(
        &self,
        authenticated: &'q AuthenticatedRequest<'p>,
        results: &[StoreResult],
    ) -> Vec<(usize, &'q LimitCheck<'p>)> {
        let about = self.token_results(authenticated);
        let limit_checks = authenticated
            .limit_checks()
            .enumerate()
            .map(|(place, limit_check)| (about + place, limit_check));
        let uncounted = |(place, limit_check): &(usize, &LimitCheck<'p>)| {
            let counted = match results.get(*place) {
                Some(StoreResult::Reply(reply)) => limit_check.decision(reply).is_some(),
                Some(StoreResult::CountedLocally(_)) => true,
                Some(StoreResult::Out(_) | StoreResult::Introspected | StoreResult::Record(_))
                | None => false,
            };
            !counted && limit_check.limit.on_store_outage == LimitOutage::Local
        };
        limit_checks.filter(uncounted).collect()
    }

    /// Returns the limits that the store was asked to count, each with its result.
    pub fn limit_results<'q>(
        &self,
        authenticated: &'q AuthenticatedRequest<'p>,
        results: &'q [StoreResult],
    ) -> impl Iterator<Item = (&'q LimitCheck<'p>, &'q StoreResult)> {
        let about = results.get(self.token_results(authenticated)..).unwrap_or_default();
        authenticated.limit_checks().zip(about)
    }

    /// Returns the decisions of the limits that were counted.
    pub fn limit_decisions(
        &self,
        authenticated: &AuthenticatedRequest<'p>,
        results: &[StoreResult],
    ) -> Vec<LimitDecision<'p>> {
        let limit_decisions =
            self.limit_results(authenticated, results).filter_map(|(limit_check, result)| {
                match result {
                    StoreResult::Reply(reply) => limit_check.decision(reply),
                    StoreResult::CountedLocally(count) => Some(limit_check.local_decision(*count)),
                    StoreResult::Out(_) | StoreResult::Introspected | StoreResult::Record(_) => {
                        None
                    }
                }
            });
        let leased = authenticated.all_limit_checks().filter_map(LimitCheck::leased_decision);
        limit_decisions.chain(leased).collect()
    }
}
