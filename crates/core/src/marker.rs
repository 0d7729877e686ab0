//! The markers in the store that revoke a token: which they are, and what they say.

use crate::claims::Claims;
use crate::denial::{Denial, Outage, Refusal};
use crate::key::Keys;
use crate::session::revoked_before;
use redis_rest::{Command, Reply};

/// The question for all markers that could revoke a token.
pub fn question(keys: &Keys, claims: &Claims) -> Command {
    of(keys, claims).into_iter().fold(Command::new("MGET"), |command, (key, _)| command.arg(key))
}

/// Whether the store's answer leaves the token good.
pub fn judge(keys: &Keys, claims: &Claims, reply: &Reply) -> Result<(), Refusal> {
    let expected = of(keys, claims);
    let Reply::Array(markers) = reply else {
        return Err(Outage::StoreFaulty.into());
    };
    if markers.len() != expected.len() {
        return Err(Outage::StoreFaulty.into());
    }
    for (marker, (_, spares_later)) in markers.iter().zip(expected) {
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

/// The keys of the markers, and whether each spares what was issued after it.
fn of(keys: &Keys, claims: &Claims) -> Vec<(String, bool)> {
    let iss = claims.iss.as_str();
    let mut markers = Vec::with_capacity(4);
    markers.push((keys.revoked_sub(iss, &claims.sub), true));
    if let Some(client) = &claims.client_id {
        markers.push((keys.revoked_client(iss, client), true));
    }
    if let Some(jti) = &claims.jti {
        markers.push((keys.revoked_jti(iss, jti), false));
    }
    if let Some(sid) = &claims.sid {
        markers.push((keys.revoked_sid(iss, sid), false));
    }
    markers
}
