//! The block of the client's address, which the store has besides those of a token.

use super::Check;
use super::authenticated::AuthenticatedRequest;
use super::store_result::StoreResult;
use crate::token::blocks::{self, BlockKind};
use crate::token::revocation::{self, RevocationMarker};
use redis_rest::Command;

impl Check<'_, '_> {
    /// Returns the store's key of the address's block.
    pub(super) fn address_block(&self) -> String {
        self.policy.keys.block_address(&self.address)
    }

    /// Returns the query about the address of a request without a token, if the store is queried
    /// for limits anyway.
    pub(super) fn address_query(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
    ) -> Option<Command> {
        let asks = self.queries_address(authenticated);
        asks.then(|| Command::new("GET").arg(self.address_block()))
    }

    /// Returns whether the store is queried about the address alone.
    pub(super) fn queries_address(&self, authenticated: &AuthenticatedRequest<'_>) -> bool {
        authenticated.verified.is_none() && authenticated.limit_checks().next().is_some()
    }

    /// Returns the marker that refuses the request according to the results of
    /// [`Check::commands`]; `None` if there is none.
    pub fn refusing_marker(
        &self,
        authenticated: &AuthenticatedRequest<'_>,
        results: &[StoreResult],
    ) -> Option<RevocationMarker> {
        let StoreResult::Reply(reply) = results.first()? else {
            return None;
        };
        match self.token_to_query(authenticated) {
            Some(verified) => revocation::find_with_address(verified.claims(), reply).ok()?,
            None => {
                let is_blocked =
                    self.queries_address(authenticated) && blocks::blocks(reply).ok()?;
                is_blocked.then_some(RevocationMarker::Block(BlockKind::Address))
            }
        }
    }
}
