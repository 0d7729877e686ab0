//! The markers in the store that revoke a token: which they are, and what they say.

use crate::claims::Claims;
use crate::refusal::{Denial, Outage, Refusal};
use crate::store::keys::StoreKeys;
use crate::session::revoked_before;
use redis_rest::{Command, Reply};

/// The query for all markers that could revoke a token.
pub fn query(keys: &StoreKeys, claims: &Claims) -> Command {
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

/// Whether the store's answer leaves the token good.
pub fn judge(claims: &Claims, reply: &Reply) -> Result<(), Refusal> {
    // In the query's order, whether each spares what was issued after it.
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
