//! The markers in the store that block callers, whatever their tokens are.

use super::claims::Claims;
use crate::refusal::{Denial, Outage, Refusal};
use crate::store::keys::StoreKeys;
use redis_rest::Reply;

/// What a block is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BlockKind {
    /// The subject of tokens.
    Subject,
    /// The client that tokens were issued to.
    Client,
    /// One API key.
    Key,
    /// The client's IPv4 address or IPv6 /64.
    Address,
}

impl BlockKind {
    /// Returns the name in the store's keys, in logs and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Client => "client",
            Self::Key => "key",
            Self::Address => "address",
        }
    }

    /// Returns what can be blocked of a token, in the query's order.
    pub(super) fn of(claims: &Claims) -> impl Iterator<Item = Self> + Clone {
        let named = [
            (Self::Subject, true),
            (Self::Client, claims.client_id.is_some()),
            (Self::Key, claims.key.is_some() && claims.jti.is_some()),
        ];
        named.into_iter().filter(|(_, has)| *has).map(|(kind, _)| kind)
    }

    /// Returns the store's key of a token's block.
    pub(super) fn key(self, keys: &StoreKeys, claims: &Claims) -> String {
        let name = match self {
            Self::Subject => Some(claims.sub.as_str()),
            Self::Client => claims.client_id.as_deref(),
            Self::Key | Self::Address => claims.jti.as_deref(),
        };
        keys.block(self.name(), &claims.iss, name.unwrap_or_default())
    }
}

/// Returns whether the store's value for a marker blocks: any value does.
pub(crate) fn blocks(value: &Reply) -> Result<bool, Outage> {
    match value {
        Reply::Null => Ok(false),
        Reply::Bulk(_) | Reply::Status(_) | Reply::Integer(_) => Ok(true),
        Reply::Array(_) | Reply::Error(_) => Err(Outage::StoreBadResponse),
    }
}

/// Rejects a request from an address that the store's reply blocks.
pub(crate) fn check_address(reply: &Reply) -> Result<(), Refusal> {
    match blocks(reply)? {
        true => Err(Denial::Blocked.into()),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn every_value_blocks() {
        for value in ["", "0", "{}", "x"] {
            assert_eq!(blocks(&Reply::Bulk(value.into())), Ok(true), "{value}");
        }
        assert_eq!(blocks(&Reply::Integer(0)), Ok(true));
        assert_eq!(blocks(&Reply::Null), Ok(false));
        assert!(blocks(&Reply::Array(Vec::new())).is_err());
        assert_eq!(check_address(&Reply::Bulk("1".into())), Err(Denial::Blocked.into()));
        assert_eq!(check_address(&Reply::Null), Ok(()));
    }
}
