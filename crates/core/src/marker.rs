//! The markers in the store that revoke a token: which they are, and what they say.

use crate::claims::Claims;
use crate::denial::{Denial, Outage, Refusal};
use crate::key::Keys;
use crate::session::revoked_before;
use redis_rest::{Command, Reply};

/// The question for all markers that could revoke a token.
pub fn question(keys: &Keys, claims: &Claims) -> Command {
    let iss = claims.iss.as_str();
    let mut question = Command::new("MGET").arg(keys.revoked_sub(iss, &claims.sub));
    if let Some(client) = &claims.client_id {
        question = question.arg(keys.revoked_client(iss, client));
    }
    if let Some(jti) = &claims.jti {
        question = question.arg(keys.revoked_jti(iss, jti));
    }
    if let Some(sid) = &claims.sid {
        question = question.arg(keys.revoked_sid(iss, sid));
    }
    question
}

/// Whether the store's answer leaves the token good.
pub fn judge(claims: &Claims, reply: &Reply) -> Result<(), Refusal> {
    // In the question's order, whether each spares what was issued after it.
    let spares_later = [true]
        .into_iter()
        .chain(claims.client_id.as_ref().map(|_| true))
        .chain(claims.jti.as_ref().map(|_| false))
        .chain(claims.sid.as_ref().map(|_| false));
    let Reply::Array(markers) = reply else {
        return Err(Outage::StoreFaulty.into());
    };
    if markers.len() != spares_later.clone().count() {
        return Err(Outage::StoreFaulty.into());
    }
    for (marker, spares_later) in markers.iter().zip(spares_later) {
        let before = match marker {
            Reply::Null => continue,
            Reply::Bulk(_) | Reply::Status(_) => {
                revoked_before(marker.as_text().unwrap_or_default())
            }
            Reply::Integer(number) => u64::try_from(*number).unwrap_or(u64::MAX),
            Reply::Array(_) | Reply::Error(_) => return Err(Outage::StoreFaulty.into()),
        };
        if !spares_later || claims.issued_at().0 <= before {
            return Err(Denial::TokenRevoked.into());
        }
    }
    Ok(())
}
