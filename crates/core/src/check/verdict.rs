//! The verdict: from what was found to a permit, or to a refusal that says why.

use super::{Check, Finding, Proof, Vouched};
use crate::claims::Claims;
use crate::denial::{Denial, Outage, Refusal};
use crate::limit::LimitOutage;
use crate::marker;
use crate::permit::{Degraded, Permit, Target};
use crate::route::{Access, StoreOutage};
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
    pub fn decide(&self, proof: &Proof<'_>, findings: &[Finding]) -> Result<Permit<'p>, Refusal> {
        if proof.vouched.as_ref().map(|vouched| vouched.hash) != self.token_hash() {
            // A proof of one check does not serve another.
            return Err(Denial::SignatureInvalid.into());
        }
        let (about, counted) =
            findings.split_at_checked(self.about_token(proof)).ok_or(Outage::StoreFaulty)?;
        let unsettled = self.unsettled(proof);
        let (mut clears, mut degraded) = (unsettled.is_some(), Degraded::default());
        if let Some(vouched) = unsettled {
            match self.judge_token(vouched, about, proof)? {
                Word::Store { keeps } => clears = keeps,
                Word::Provider => degraded.token = Some(StoreOutage::Origin),
                Word::Signature => {
                    clears = false;
                    degraded.token = Some(StoreOutage::Signature);
                }
            }
        }
        if let Some(vouched) = &proof.vouched {
            self.judge_holder(&vouched.claims)?;
        }
        degraded.limit = self.judge_limits(proof, counted)?;
        let policy = self.policy;
        let target = match self.route.access {
            Access::Auth => Target::Origin(&policy.origin),
            Access::Protected | Access::Public => {
                Target::Upstream(self.route.upstream.as_ref().unwrap_or(&policy.upstream))
            }
        };
        let holder = proof.vouched.clone();
        Ok(Permit::new(self.route, target, policy, holder, clears, degraded))
    }

    /// Whether a token is good, and by whose word.
    fn judge_token(
        &self,
        vouched: &Vouched,
        about: &[Finding],
        proof: &Proof<'_>,
    ) -> Result<Word, Refusal> {
        let (mut word, mut outage) = (Word::Store { keeps: true }, None);
        for (place, finding) in about.iter().enumerate() {
            let judged = match finding {
                Finding::Vouched => {
                    word = Word::Provider;
                    Ok(())
                }
                Finding::Out(outage) => Err(Refusal::Out(*outage)),
                Finding::Counted(_) => Err(Refusal::Out(Outage::StoreFaulty)),
                Finding::Reply(reply) if place == 0 => marker::judge(&vouched.claims, reply),
                Finding::Reply(_) | Finding::Record(_) => {
                    match self.standing(finding, vouched, proof.now) {
                        Ok(Standing::Foreign | Standing::Missing) => {
                            Err(Refusal::Denied(Denial::TokenUnknown))
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
        let signed = self.issuer(vouched.issuer).is_some_and(|issuer| issuer.keys.is_some());
        match outage {
            None => Ok(word),
            // It was cleared lately enough; the store was asked for the limits' sake.
            Some(_) if self.is_settled(proof) => Ok(Word::Store { keeps: false }),
            Some(_) if signed && self.route.store_outage == StoreOutage::Signature => {
                Ok(Word::Signature)
            }
            Some(outage) => Err(outage.into()),
        }
    }

    /// Whether every limit admits the request; and what held where one could not be counted.
    fn judge_limits(
        &self,
        proof: &Proof<'_>,
        counted: &[Finding],
    ) -> Result<Option<LimitOutage>, Refusal> {
        let (mut instead, mut wait_ms) = (None, None);
        let mut counted = counted.iter();
        for charge in proof.charges() {
            let finding = counted.next().unwrap_or(&Finding::Out(Outage::StoreFaulty));
            let limit = charge.limit;
            let wait = match finding {
                Finding::Reply(reply) => match charge.tally(reply) {
                    Some(tally) => (!tally.admitted).then_some(tally.wait_ms),
                    None if limit.shadow => None,
                    None if limit.outage == LimitOutage::Allow => {
                        instead = Some(LimitOutage::Allow);
                        None
                    }
                    None => return Err(Outage::StoreFaulty.into()),
                },
                // What is merely watched decides nothing.
                Finding::Out(_) if limit.shadow => None,
                Finding::Counted(count) => {
                    instead = instead.or(Some(LimitOutage::Local));
                    count.err()
                }
                Finding::Out(_) if limit.outage == LimitOutage::Allow => {
                    instead = Some(LimitOutage::Allow);
                    None
                }
                Finding::Out(outage) => return Err((*outage).into()),
                Finding::Vouched | Finding::Record(_) => return Err(Outage::StoreFaulty.into()),
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
        finding: &Finding,
        vouched: &Vouched,
        now: UnixSeconds,
    ) -> Result<Standing, Outage> {
        let record = match finding {
            Finding::Record(record) => record,
            Finding::Reply(Reply::Null) => return Ok(Standing::Missing),
            Finding::Reply(_) | Finding::Out(_) | Finding::Vouched | Finding::Counted(_) => {
                return Err(Outage::StoreFaulty);
            }
        };
        let (claims, issuer) = (&vouched.claims, self.issuer(vouched.issuer));
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
