//! Interprets a token's record in the store.

use super::store_result::StoreResult;
use crate::policy::Policy;
use crate::refusal::Outage;
use crate::time::UnixSeconds;
use crate::token::verified::VerifiedToken;
use redis_rest::Reply;

/// The state of a verified token's record.
pub(super) enum RecordState {
    /// The record belongs to another token.
    Foreign,
    /// The record is missing, or it came from a provider too long ago.
    Missing,
    /// The token is registered.
    Registered {
        /// Whether the record came from a provider whose revocations do not reach the store.
        by_provider: bool,
    },
}

impl Policy {
    /// Returns the state of the record that the store's result holds.
    pub(super) fn record_state(
        &self,
        result: &StoreResult,
        verified: &VerifiedToken,
        now: UnixSeconds,
    ) -> Result<RecordState, Outage> {
        let record = match result {
            StoreResult::Record(record) => record,
            StoreResult::Reply(Reply::Null) => return Ok(RecordState::Missing),
            StoreResult::Reply(_)
            | StoreResult::Out(_)
            | StoreResult::Introspected
            | StoreResult::CountedLocally(_) => {
                return Err(Outage::StoreBadResponse);
            }
        };
        let (claims, issuer) = (verified.claims(), self.issuers.get(verified.issuer()));
        let Some(issuer) = issuer else {
            return Ok(RecordState::Foreign);
        };
        let Some(asked_at) = record.asked_at.map(UnixSeconds) else {
            let same = record.sub == claims.sub && record.sid == claims.sid;
            return Ok(if same {
                RecordState::Registered { by_provider: false }
            } else {
                RecordState::Foreign
            });
        };
        // An introspection response need not have `sid`, so a provider may omit it.
        let same =
            record.is_about(&claims.sub) && (record.sid.is_none() || record.sid == claims.sid);
        let Some(introspection) = issuer.introspection.as_ref().filter(|_| same) else {
            return Ok(RecordState::Foreign);
        };
        if introspection.revocations_in_store {
            return Ok(RecordState::Registered { by_provider: false });
        }
        let bound = self.revocation_delay_seconds_max;
        let fresh = introspection.cacheable_seconds(claims.exp, Some(asked_at), bound, now) > 0;
        Ok(if fresh || asked_at == now {
            RecordState::Registered { by_provider: true }
        } else {
            RecordState::Missing
        })
    }
}
