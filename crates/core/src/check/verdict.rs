//! The verdict: from what was found to a permit, or to a refusal that says why.

use super::{AuthenticatedRequest, Check, StoreResult, VerifiedToken};
use crate::claims::Claims;
use crate::refusal::{Denial, Outage, Refusal};
use crate::policy::limit::LimitOutage;
use crate::policy::route::{Access, StoreOutage};
use crate::marker;
use crate::permit::{Degraded, Permit, Target};
use crate::time::UnixSeconds;
use redis_rest::Reply;

/// What the store's record says of a token that is genuine.
pub(super) enum Standing {
    /// It is another token's.
    Foreign,
    /// There is none, or a provider's word that is too old.
    Missing,
    /// It is registered; on the word of a provider whose revocations do not reach the store, or on that of
    /// whoever issued it.
    Registered { by_provider: bool },
}

/// By whose word a token is good.
enum Word {
    /// The store's, which may be kept or not.
    Store { keeps: bool },
    /// Its provider's, of this moment.
    Provider,
    /// Nobody's but its issuer's.
    Signature,
}

impl<'p> Check<'_, 'p> {
    /// The verdict, from what was found for each of [`Check::commands`].
    pub fn decide(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &[StoreResult],
    ) -> Result<Permit<'p>, Refusal> {
        if authenticated.verified.as_ref().map(|verified| verified.hash) != self.token_hash() {
            // A proof of one check does not serve another.
            return Err(Denial::SignatureInvalid.into());
        }
        let (about, counted) = results
            .split_at_checked(self.about_token(authenticated))
            .ok_or(Outage::StoreBadResponse)?;
        let unsettled = self.unsettled(authenticated);
        let (mut clears, mut degraded) = (unsettled.is_some(), Degraded::default());
        if let Some(verified) = unsettled {
            match self.judge_token(verified, about, authenticated)? {
                Word::Store { keeps } => clears = keeps,
                Word::Provider => degraded.token = Some(StoreOutage::Introspect),
                Word::Signature => {
                    clears = false;
                    degraded.token = Some(StoreOutage::Signature);
                }
            }
        }
        if let Some(verified) = &authenticated.verified {
            self.judge_holder(&verified.claims)?;
        }
        degraded.limit = self.judge_limits(authenticated, counted)?;
        let policy = self.policy;
        let target = match self.route.access {
            Access::Auth => Target::Auth(&policy.auth),
            Access::Protected | Access::Public => {
                Target::Upstream(self.route.upstream.as_ref().unwrap_or(&policy.upstream))
            }
        };
        let holder = authenticated.verified.clone();
        Ok(Permit::new(self.route, target, policy, holder, clears, degraded))
    }

    /// Whether a token is good, and by whose word.
    fn judge_token(
        &self,
        verified: &VerifiedToken,
        about: &[StoreResult],
        authenticated: &AuthenticatedRequest<'_>,
    ) -> Result<Word, Refusal> {
        let (mut word, mut outage) = (Word::Store { keeps: true }, None);
        for (place, result) in about.iter().enumerate() {
            let judged = match result {
                StoreResult::Introspected => {
                    word = Word::Provider;
                    Ok(())
                }
                StoreResult::Out(outage) => Err(Refusal::Out(*outage)),
                StoreResult::CountedLocally(_) => Err(Refusal::Out(Outage::StoreBadResponse)),
                StoreResult::Reply(reply) if place == 0 => marker::judge(&verified.claims, reply),
                StoreResult::Reply(_) | StoreResult::Record(_) => {
                    match self.standing(result, verified, authenticated.now) {
                        Ok(Standing::Foreign | Standing::Missing) => {
                            Err(Refusal::Denied(Denial::TokenNotRegistered))
                        }
                        // A provider's word is as old as its answer, so nothing is kept on top of it.
                        Ok(Standing::Registered { by_provider }) => {
                            if let Word::Store { keeps } = &mut word {
                                *keeps = !by_provider;
                            }
                            Ok(())
                        }
                        Err(outage) => Err(Refusal::Out(outage)),
                    }
                }
            };
            match judged {
                Ok(()) => {}
                Err(Refusal::Out(found)) => outage = outage.or(Some(found)),
                Err(refusal) => return Err(refusal),
            }
        }
        let signed = self.issuer(verified.issuer).is_some_and(|issuer| issuer.keys.is_some());
        match outage {
            None => Ok(word),
            // It was cleared lately enough; the store was asked for the limits' sake.
            Some(_) if self.is_settled(authenticated) => Ok(Word::Store { keeps: false }),
            Some(_) if signed && self.route.on_store_outage == StoreOutage::Signature => {
                Ok(Word::Signature)
            }
            Some(outage) => Err(outage.into()),
        }
    }

    /// Whether every limit admits the request; and what held where one could not be counted.
    fn judge_limits(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        counted: &[StoreResult],
    ) -> Result<Option<LimitOutage>, Refusal> {
        let (mut instead, mut wait_ms) = (None, None);
        let mut counted = counted.iter();
        for limit_check in authenticated.limit_checks() {
            let result = counted.next().unwrap_or(&StoreResult::Out(Outage::StoreBadResponse));
            let limit = limit_check.limit;
            let wait = match result {
                StoreResult::Reply(reply) => match limit_check.decision(reply) {
                    Some(decision) => (!decision.admitted).then_some(decision.wait_ms),
                    None if limit.shadow => None,
                    None if limit.on_store_outage == LimitOutage::Allow => {
                        instead = Some(LimitOutage::Allow);
                        None
                    }
                    None => return Err(Outage::StoreBadResponse.into()),
                },
                // What is merely watched decides nothing.
                StoreResult::Out(_) if limit.shadow => None,
                StoreResult::CountedLocally(count) => {
                    instead = instead.or(Some(LimitOutage::Local));
                    count.err()
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
            if !limit.shadow {
                wait_ms = wait_ms.max(wait);
            }
        }
        match wait_ms {
            Some(wait_ms) => Err(Denial::RateLimited { wait_ms }.into()),
            None => Ok(instead),
        }
    }

    pub(super) fn standing(
        &self,
        result: &StoreResult,
        verified: &VerifiedToken,
        now: UnixSeconds,
    ) -> Result<Standing, Outage> {
        let record = match result {
            StoreResult::Record(record) => record,
            StoreResult::Reply(Reply::Null) => return Ok(Standing::Missing),
            StoreResult::Reply(_)
            | StoreResult::Out(_)
            | StoreResult::Introspected
            | StoreResult::CountedLocally(_) => {
                return Err(Outage::StoreBadResponse);
            }
        };
        let (claims, issuer) = (&verified.claims, self.issuer(verified.issuer));
        let Some(issuer) = issuer else {
            return Ok(Standing::Foreign);
        };
        let Some(asked_at) = record.asked_at.map(UnixSeconds) else {
            let same = record.sub == claims.sub && record.sid == claims.sid;
            return Ok(if same {
                Standing::Registered { by_provider: false }
            } else {
                Standing::Foreign
            });
        };
        // `sid` is no member of an introspection's answer, so a provider may leave it out.
        let same = record.sub == claims.sub && (record.sid.is_none() || record.sid == claims.sid);
        let Some(introspection) = issuer.introspection.as_ref().filter(|_| same) else {
            return Ok(Standing::Foreign);
        };
        if introspection.revocations_in_store {
            return Ok(Standing::Registered { by_provider: false });
        }
        let bound = self.policy.revocation_seconds_max;
        let kept = introspection.keeps_seconds(claims.exp, Some(asked_at), bound, now) > 0;
        Ok(if kept || asked_at == now {
            Standing::Registered { by_provider: true }
        } else {
            Standing::Missing
        })
    }

    fn judge_holder(&self, claims: &Claims) -> Result<(), Denial> {
        let (all, any) = (&self.route.scopes, &self.route.scopes_any);
        let scoped = all.iter().all(|scope| claims.has_scope(scope))
            && (any.is_empty() || any.iter().any(|scope| claims.has_scope(scope)));
        if !scoped {
            return Err(Denial::ScopeInsufficient);
        }
        let claimed = |(name, allowed): &(String, Vec<_>)| claims.has_claim(name, allowed);
        if !self.route.claims.iter().all(claimed) {
            return Err(Denial::ClaimInsufficient);
        }
        Ok(())
    }
}
