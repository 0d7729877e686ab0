//! The markers in the store that revoke tokens.

use super::claims::Claims;
use crate::refusal::{Denial, Outage, Refusal};
use crate::store::keys::StoreKeys;
use redis_rest::{Command, Reply};

/// A marker that revokes tokens.
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
}

impl RevocationMarker {
    /// Returns the name in the store's keys and in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Subject => "sub",
            Self::Client => "client",
            Self::Token => "jti",
            Self::Session => "sid",
        }
    }

    /// Returns whether the revocation is permanent. The marker of a subject or a client is deleted
    /// when they are admitted again.
    pub fn is_final(self) -> bool {
        match self {
            Self::Subject | Self::Client => false,
            Self::Token | Self::Session => true,
        }
    }

    /// Returns the markers that can revoke a token, in the query's order.
    fn of(claims: &Claims) -> impl Iterator<Item = Self> + Clone {
        let named = [
            (Self::Subject, true),
            (Self::Client, claims.client_id.is_some()),
            (Self::Token, claims.jti.is_some()),
            (Self::Session, claims.sid.is_some()),
        ];
        named.into_iter().filter(|(_, has)| *has).map(|(marker, _)| marker)
    }
}

/// Returns the query for all markers that could revoke a token.
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
    };
    RevocationMarker::of(claims).fold(Command::new("MGET"), |query, marker| query.arg(key(marker)))
}

/// Returns the marker in the store's reply that revokes a token; `None` if there is none.
pub(crate) fn find(claims: &Claims, reply: &Reply) -> Result<Option<RevocationMarker>, Outage> {
    let kinds = RevocationMarker::of(claims);
    let Reply::Array(markers) = reply else {
        return Err(Outage::StoreBadResponse);
    };
    if markers.len() != kinds.clone().count() {
        return Err(Outage::StoreBadResponse);
    }
    for (marker, kind) in markers.iter().zip(kinds) {
        let before = match marker {
            Reply::Null => continue,
            Reply::Bulk(_) | Reply::Status(_) => {
                revoked_before(marker.as_text().unwrap_or_default())
            }
            Reply::Integer(number) => u64::try_from(*number).unwrap_or(u64::MAX),
            Reply::Array(_) | Reply::Error(_) => return Err(Outage::StoreBadResponse),
        };
        // The marker of a subject or a client does not revoke tokens that were issued after it.
        if kind.is_final() || claims.issued_at().0 <= before {
            return Ok(Some(kind));
        }
    }
    Ok(None)
}

/// Rejects a token that one of the markers in the store's reply revokes.
pub(crate) fn check(claims: &Claims, reply: &Reply) -> Result<(), Refusal> {
    match find(claims, reply)? {
        None => Ok(()),
        Some(_) => Err(Denial::TokenRevoked.into()),
    }
}

/// Returns the time up to which a marker revokes, in Unix seconds. A marker that is not a number
/// revokes every token.
pub fn revoked_before(marker: &str) -> u64 {
    marker.parse().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn marker_revokes_everything_when_unreadable() {
        assert_eq!(revoked_before("1700000000"), 1_700_000_000);
        assert_eq!(revoked_before(""), u64::MAX);
        assert_eq!(revoked_before("-1"), u64::MAX);
        assert_eq!(revoked_before("soon"), u64::MAX);
    }
}
