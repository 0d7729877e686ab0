//! Records when a session was last seen.

use super::permit::Permit;
use crate::time::UnixSeconds;
use crate::token_hash::TokenHash;
use redis_rest::Command;

/// A script that writes when a session was last seen. It writes only if the session still exists
/// and the previous time is a minute old, because several isolates write it.
pub const TOUCH_SCRIPT: &str = "local seen = redis.call('HGET', KEYS[1], 'last_seen_at') \
    if seen and ARGV[1] - seen >= 60 then \
    redis.call('HSET', KEYS[1], 'last_seen_at', ARGV[1]) end return 0";

impl Permit<'_> {
    /// Returns the commands that record when the caller's session was last seen; `None` if its
    /// issuer has no sessions in the store. The commands never recreate an ended session.
    pub fn touch_session(&self, now: UnixSeconds) -> Option<(TokenHash, Vec<Command>)> {
        let verified = self.verified.as_ref()?;
        let issuer = self.policy.issuers.get(verified.issuer())?;
        let (claims, keys) = (verified.claims(), &self.policy.keys);
        let sid = claims.sid.as_ref().filter(|_| issuer.sessions_in_store)?;
        let touch = Command::new("EVAL")
            .arg(TOUCH_SCRIPT)
            .arg(1)
            .arg(keys.session(&claims.iss, sid))
            .arg(now);
        let order = Command::new("ZADD")
            .arg(keys.sessions(&claims.iss, &claims.sub))
            .arg("XX")
            .arg("GT")
            .arg(now)
            .arg(sid);
        Some((verified.hash(), vec![touch, order]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn touch_script_is_allowed_by_the_example_tokens() {
        assert_eq!(crate::store::script::documented_tokens(TOUCH_SCRIPT), 1);
    }
}
