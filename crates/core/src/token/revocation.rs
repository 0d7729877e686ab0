//! The markers in the store that revoke tokens or block their holders.

use super::blocks::{self, BlockKind};
use super::claims::Claims;
use crate::refusal::{Denial, Outage, Refusal};
use crate::store::keys::StoreKeys;
use redis_rest::{Command, Reply};

/// A marker that refuses tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RevocationMarker {
    /// Revokes a subject's tokens up to a time.
    Subject,
    /// Revokes a client's tokens up to a time.
    Client,
    /// Revokes one token.
    Token,
    /// Revokes all tokens of a session.
    Session,
    /// Blocks the token's holder, or the address of the request.
    Block(BlockKind),
}

impl RevocationMarker {
    /// Returns the name in the store's keys and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subject => "sub",
            Self::Client => "client",
            Self::Token => "jti",
            Self::Session => "sid",
            Self::Block(kind) => kind.name(),
        }
    }

    /// Returns what the marker blocks; `None` if it revokes.
    pub fn block(self) -> Option<BlockKind> {
        match self {
            Self::Block(kind) => Some(kind),
            Self::Subject | Self::Client | Self::Token | Self::Session => None,
        }
    }

    /// Returns the reason of a refusal.
    pub fn denial(self) -> Denial {
        match self.block() {
            Some(_) => Denial::Blocked,
            None => Denial::TokenRevoked,
        }
    }

    /// Returns after how many milliseconds the store is queried again, because the marker may have
    /// been deleted or replaced by an earlier time: that of a subject or a client. Returns `None`
    /// if the revocation is permanent.
    pub fn recheck_ms(self) -> Option<u64> {
        match self {
            Self::Subject | Self::Client => Some(REVOKED_MS),
            Self::Token | Self::Session => None,
            Self::Block(_) => Some(BLOCKED_MS),
        }
    }

    /// Returns the markers that can refuse a token, in the query's order.
    fn of(claims: &Claims) -> impl Iterator<Item = Self> + Clone {
        let named = [
            (Self::Subject, true),
            (Self::Client, claims.client_id.is_some()),
            (Self::Token, claims.jti.is_some()),
            (Self::Session, claims.sid.is_some()),
        ];
        let revocations = named.into_iter().filter(|(_, has)| *has).map(|(marker, _)| marker);
        revocations.chain(BlockKind::of(claims).map(Self::Block))
    }
}

/// Returns the query for all markers that could refuse a token.
pub(crate) fn query(keys: &StoreKeys, claims: &Claims) -> Command {
    let iss = claims.iss.as_str();
    let key = |marker| match marker {
        RevocationMarker::Subject => keys.revoked_sub(iss, &claims.sub),
        RevocationMarker::Client => {
            keys.revoked_client(iss, claims.client_id.as_deref().unwrap_or_default())
        }
        RevocationMarker::Token => keys.revoked_jti(iss, claims.jti.as_deref().unwrap_or_default()),
        RevocationMarker::Session => {
            keys.revoked_sid(iss, claims.sid.as_deref().unwrap_or_default())
        }
        RevocationMarker::Block(kind) => kind.key(keys, claims),
    };
    RevocationMarker::of(claims).fold(Command::new("MGET"), |query, marker| query.arg(key(marker)))
}

/// Returns the marker in the store's reply that refuses a token; `None` if there is none.
pub(crate) fn find(claims: &Claims, reply: &Reply) -> Result<Option<RevocationMarker>, Outage> {
    find_among(RevocationMarker::of(claims), claims, reply)
}

/// Returns the marker that refuses a token or its request's address, whose block is the last in the
/// store's reply.
pub(crate) fn find_with_address(
    claims: &Claims,
    reply: &Reply,
) -> Result<Option<RevocationMarker>, Outage> {
    let address = [RevocationMarker::Block(BlockKind::Address)];
    find_among(RevocationMarker::of(claims).chain(address), claims, reply)
}

fn find_among(
    kinds: impl Iterator<Item = RevocationMarker> + Clone,
    claims: &Claims,
    reply: &Reply,
) -> Result<Option<RevocationMarker>, Outage> {
    let Reply::Array(markers) = reply else {
        return Err(Outage::StoreBadResponse);
    };
    if markers.len() != kinds.clone().count() {
        return Err(Outage::StoreBadResponse);
    }
    for (marker, kind) in markers.iter().zip(kinds) {
        if kind.block().is_some() {
            if blocks::blocks(marker)? {
                return Ok(Some(kind));
            }
            continue;
        }
        let before = match marker {
            Reply::Null => continue,
            Reply::Bulk(_) | Reply::Status(_) => {
                revoked_before(marker.as_text().unwrap_or_default())
            }
            Reply::Integer(number) => u64::try_from(*number).unwrap_or(u64::MAX),
            Reply::Array(_) | Reply::Error(_) => return Err(Outage::StoreBadResponse),
        };
        // The marker of a subject or a client does not revoke tokens that were issued after it.
        if kind.recheck_ms().is_none() || claims.issued_at().0 <= before {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

/// Rejects a token that one of the markers in the store's reply refuses.
pub(crate) fn check(claims: &Claims, reply: &Reply) -> Result<(), Refusal> {
    refuse(find(claims, reply)?)
}

/// Rejects a token that a marker in the store's reply refuses, or whose request's address is
/// blocked.
pub(crate) fn check_with_address(claims: &Claims, reply: &Reply) -> Result<(), Refusal> {
    refuse(find_with_address(claims, reply)?)
}

fn refuse(marker: Option<RevocationMarker>) -> Result<(), Refusal> {
    marker.map_or(Ok(()), |marker| Err(marker.denial().into()))
}

/// Returns the time up to which a marker revokes, in Unix seconds. A marker that is not a number
/// revokes every token.
pub fn revoked_before(marker: &str) -> u64 {
    marker.parse().unwrap_or(u64::MAX)
}

/// How long a token of a revoked subject or client is rejected without another query.
const REVOKED_MS: u64 = 5000;
/// The same for what is blocked, so that an operator sees the end of a block at once.
const BLOCKED_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::api_key::KeyTerms;
    use crate::token::record::TokenRecord;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn revocation_by_time_leaves_api_keys_but_disabling_does_not() {
        let claims = |key| {
            let record = TokenRecord {
                sub: "alice".into(),
                aud: Some("api".into()),
                iat: Some(1000),
                key,
                ..TokenRecord::default()
            };
            record.claims(&crate::policy::fixtures::issuer()).unwrap()
        };
        let found = |claims: &Claims, marker: &str| {
            let mut replies = vec![Reply::Null; RevocationMarker::of(claims).count()];
            replies[0] = Reply::Bulk(marker.into());
            find(claims, &Reply::Array(replies)).unwrap()
        };
        let (token, key) = (claims(None), claims(Some(KeyTerms::default())));
        assert_eq!(found(&token, "1000"), Some(RevocationMarker::Subject));
        assert_eq!(found(&token, "999"), None);
        assert_eq!(found(&key, "2000"), None);
        assert_eq!(found(&key, "disabled"), Some(RevocationMarker::Subject));
    }

    #[test]
    fn marker_revokes_everything_when_unreadable() {
        assert_eq!(revoked_before("1700000000"), 1_700_000_000);
        assert_eq!(revoked_before(""), u64::MAX);
        assert_eq!(revoked_before("-1"), u64::MAX);
        assert_eq!(revoked_before("soon"), u64::MAX);
    }
}
