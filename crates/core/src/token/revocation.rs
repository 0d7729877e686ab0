//! The markers in the store that revoke tokens.

use super::claims::Claims;
use crate::refusal::{Denial, Outage, Refusal};
use crate::store::keys::StoreKeys;
use redis_rest::{Command, Reply};

/// Returns the query for all markers that could revoke a token.
pub(crate) fn query(keys: &StoreKeys, claims: &Claims) -> Command {
    let iss = claims.iss.as_str();
    let mut query = Command::new("MGET").arg(keys.revoked_sub(iss, &claims.sub));
    if let Some(client) = &claims.client_id {
        query = query.arg(keys.revoked_client(iss, client));
    }
    if let Some(jti) = &claims.jti {
        query = query.arg(keys.revoked_jti(iss, jti));
    }
    if let Some(sid) = &claims.sid {
        query = query.arg(keys.revoked_sid(iss, sid));
    }
    query
}

/// Rejects a token that one of the markers in the store's reply revokes.
pub(crate) fn check(claims: &Claims, reply: &Reply) -> Result<(), Refusal> {
    // In the query's order, whether a marker spares tokens that were issued after it.
    let spares_later = [true]
        .into_iter()
        .chain(claims.client_id.as_ref().map(|_| true))
        .chain(claims.jti.as_ref().map(|_| false))
        .chain(claims.sid.as_ref().map(|_| false));
    let Reply::Array(markers) = reply else {
        return Err(Outage::StoreBadResponse.into());
    };
    if markers.len() != spares_later.clone().count() {
        return Err(Outage::StoreBadResponse.into());
    }
    for (marker, spares_later) in markers.iter().zip(spares_later) {
        let before = match marker {
            Reply::Null => continue,
            Reply::Bulk(_) | Reply::Status(_) => {
                revoked_before(marker.as_text().unwrap_or_default())
            }
            Reply::Integer(number) => u64::try_from(*number).unwrap_or(u64::MAX),
            Reply::Array(_) | Reply::Error(_) => return Err(Outage::StoreBadResponse.into()),
        };
        if !spares_later || claims.issued_at().0 <= before {
            return Err(Denial::TokenRevoked.into());
        }
    }
    Ok(())
}

/// Returns the time up to which a marker revokes. A marker that is no number revokes every token.
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
