//! Renewals of a token's clearance, before it ends and outside of any request.

use super::record_state::RecordState;
use super::store_result::StoreResult;
use crate::policy::Policy;
use crate::policy::route::TokenRequirement;
use crate::time::UnixSeconds;
use crate::token::record::TokenRecord;
use crate::token::revocation::{self, RevocationMarker};
use crate::token::verified::VerifiedToken;
use redis_rest::{Command, Reply};
use std::rc::Rc;

/// A token whose clearance is to be renewed.
#[derive(Clone, Debug)]
pub struct RenewedToken {
    /// The token.
    pub token: Rc<VerifiedToken>,
    /// What the clearance is for.
    pub requirement: TokenRequirement,
}

/// What the store says about a token whose clearance is to be renewed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Renewal {
    /// It still clears the token.
    Cleared,
    /// A marker refuses the token.
    Revoked(RevocationMarker),
    /// It lacks the token's record, or has one that is not cached. The next request must find out.
    Ended,
    /// The reply is malformed, and says nothing.
    Unknown,
}

impl Policy {
    /// Returns the one command that renews the clearances of all these tokens.
    pub fn renewal_query(&self, renewed: &[RenewedToken]) -> Command {
        let keys = renewed.iter().flat_map(|own| {
            let record = self.renews_record(own).then(|| own.token.record_key().as_bytes());
            own.token.marker_keys().chain(record)
        });
        keys.fold(Command::new("MGET"), Command::arg_bytes)
    }

    /// Reads the reply to [`Policy::renewal_query`]. Returns a result for each of the tokens.
    pub fn renewals(
        &self,
        renewed: &[RenewedToken],
        reply: Reply,
        now: UnixSeconds,
    ) -> Vec<Renewal> {
        let count = |own: &RenewedToken| {
            own.token.marker_keys().count() + usize::from(self.renews_record(own))
        };
        let all: usize = renewed.iter().map(count).sum();
        // With another number of values, it is unclear which token each is about.
        let mut values = match reply {
            Reply::Array(values) if values.len() == all => values.into_iter(),
            _ => return vec![Renewal::Unknown; renewed.len()],
        };
        let mut own_values = |own| values.by_ref().take(count(own)).collect();
        renewed.iter().map(|own| self.renewal(own, own_values(own), now)).collect()
    }

    fn renewal(&self, renewed: &RenewedToken, mut values: Vec<Reply>, now: UnixSeconds) -> Renewal {
        let token = &renewed.token;
        let record = match self.renews_record(renewed) {
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
        // If the record of an API key has changed, its next request must read it.
        let is_current =
            |record: &Rc<TokenRecord>| token.known().is_none_or(|known| Rc::ptr_eq(known, record));
        let opened = record.as_text().and_then(|text| {
            let record = token.open(text, token.record_key(), self.seal.as_ref());
            record.filter(is_current).map(StoreResult::Record)
        });
        let result = opened.unwrap_or(StoreResult::Reply(Reply::Null));
        match self.record_state(&result, token, now) {
            Ok(RecordState::Registered { by_provider: false }) => Renewal::Cleared,
            Ok(_) | Err(_) => Renewal::Ended,
        }
    }

    /// Returns whether the record of a token is needed: an opaque token was verified by its record
    /// or its provider already. What an API key may do is in its record.
    fn renews_record(&self, renewed: &RenewedToken) -> bool {
        let issuer = self.issuers.get(renewed.token.issuer());
        renewed.token.is_api_key()
            || (renewed.requirement == TokenRequirement::Record
                && issuer.is_some_and(|own| own.keys.is_some()))
    }
}
