//! Renewals of a token's clearance, before it ends and outside of any request.

use super::record_state::RecordState;
use super::store_result::StoreResult;
use crate::policy::Policy;
use crate::policy::route::TokenRequirement;
use crate::time::UnixSeconds;
use crate::token::revocation::{self, RevocationMarker};
use crate::token::verified::VerifiedToken;
use redis_rest::{Command, Reply};

/// What the store says about a token whose clearance is to be renewed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Renewal {
    /// It still clears the token.
    Cleared,
    /// A marker revokes the token.
    Revoked(RevocationMarker),
    /// It lacks the token's record, or has one that is not cached. The next request must find out.
    Ended,
    /// The reply is malformed, and says nothing.
    Unknown,
}

impl Policy {
    /// Returns the store's command that renews the clearance of a token.
    pub fn renewal_query(&self, token: &VerifiedToken, requirement: TokenRequirement) -> Command {
        token.query(self.renews_record(token, requirement)).clone()
    }

    /// Reads the reply to [`Policy::renewal_query`].
    pub fn renewal(
        &self,
        token: &VerifiedToken,
        requirement: TokenRequirement,
        reply: Reply,
        now: UnixSeconds,
    ) -> Renewal {
        let Reply::Array(mut values) = reply else {
            return Renewal::Unknown;
        };
        let record = match self.renews_record(token, requirement) {
            true => values.pop(),
            false => None,
        };
        match revocation::find(token.claims(), &Reply::Array(values)) {
            Err(_) => return Renewal::Unknown,
            Ok(Some(marker)) => return Renewal::Revoked(marker),
            Ok(None) => {}
        }
        let Some(record) = record else {
            return Renewal::Cleared;
        };
        let opened = record.as_text().and_then(|text| {
            token.open(text, token.record_key(), self.seal.as_ref()).map(StoreResult::Record)
        });
        let result = opened.unwrap_or(StoreResult::Reply(Reply::Null));
        match self.record_state(&result, token, now) {
            Ok(RecordState::Registered { by_provider: false }) => Renewal::Cleared,
            Ok(_) | Err(_) => Renewal::Ended,
        }
    }

    /// Returns whether the record of a token is needed: an opaque token was verified by its record
    /// or its provider already.
    fn renews_record(&self, token: &VerifiedToken, requirement: TokenRequirement) -> bool {
        let issuer = self.issuers.get(token.issuer());
        requirement == TokenRequirement::Record && issuer.is_some_and(|own| own.keys.is_some())
    }
}
