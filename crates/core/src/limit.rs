//! Rate limits: what is counted for whom, and how the store's answer reads. The arithmetic is the
//! script's, which the store runs atomically.

use crate::denial::{Denial, Outage, Refusal};
use crate::head::Head;
use redis_rest::{Command, Reply};
use serde::Deserialize;
use std::net::IpAddr;

/// The script that counts one request.
pub const LIMIT_SCRIPT: &str = include_str!("limit.lua");

/// The script's SHA-1, by which `EVALSHA` calls it.
pub const LIMIT_SCRIPT_SHA1: &str = "bd2d90bd25b2d6f9285c5cf0bb59ca3a20a8855a";

/// At most `quota` requests at once, and `quota` per `window_seconds` on average (GCRA).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Requests per window, 1 to 1,000,000.
    pub quota: u32,
    /// The window, 1 to 86,400 seconds.
    pub window_seconds: u32,
    /// For whom is counted.
    pub by: LimitBy,
}

/// For whom a limit counts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum LimitBy {
    /// The client's address; IPv6 by /64, which is what one subscriber has.
    Address,
    /// The verified subject.
    Subject,
}

impl Limit {
    /// The command that counts one request under `key`.
    pub(crate) fn command(self, key: &str) -> Command {
        Command::new("EVALSHA")
            .arg(LIMIT_SCRIPT_SHA1)
            .arg(1)
            .arg(key)
            .arg(self.quota)
            .arg(u64::from(self.window_seconds) * 1000)
    }

    /// Reads the script's answer.
    pub(crate) fn judge(reply: &Reply) -> Result<(), Refusal> {
        let Reply::Array(fields) = reply else {
            return Err(Outage::StoreFaulty.into());
        };
        match fields.as_slice() {
            [Reply::Integer(1), Reply::Integer(_), Reply::Integer(_)] => Ok(()),
            [Reply::Integer(0), Reply::Integer(_), Reply::Integer(wait_ms)] => {
                let wait_ms = u64::try_from(*wait_ms).unwrap_or(0);
                Err(Denial::RateLimited { retry_after_seconds: wait_ms.div_ceil(1000).max(1) }
                    .into())
            }
            _ => Err(Outage::StoreFaulty.into()),
        }
    }
}

/// Whom an address limit counts. All requests whose address nobody states share one count, so that
/// leaving the address out is no way around the limit.
pub(crate) fn address_group(head: &Head<'_>) -> String {
    match head.client_address() {
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => match address.to_ipv4_mapped() {
            Some(address) => address.to_string(),
            None => {
                let [a, b, c, d, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
            }
        },
        None => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_scripts_hash_is_its_own() {
        use sha1::Digest as _;
        let hash: String =
            sha1::Sha1::digest(LIMIT_SCRIPT).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(LIMIT_SCRIPT_SHA1, hash);
        let tokens = include_str!("../../../docs/gateway-tokens.toml");
        assert!(tokens.contains(&hash), "the edge's token may run another script");
    }

    #[test]
    fn an_answer_of_the_script_is_read() {
        fn check(fields: &[i64], expect: Result<(), Refusal>) {
            let reply = Reply::Array(fields.iter().copied().map(Reply::Integer).collect());
            assert_eq!(Limit::judge(&reply), expect, "{fields:?}");
        }
        let limited = |seconds| Err(Denial::RateLimited { retry_after_seconds: seconds }.into());
        check(&[1, 4, 0], Ok(()));
        check(&[1, 0, 900], Ok(()));
        check(&[0, 0, 1], limited(1));
        check(&[0, 0, 1000], limited(1));
        check(&[0, 0, 1001], limited(2));
        check(&[0, 0, 0], limited(1));
        check(&[2, 0, 0], Err(Outage::StoreFaulty.into()));
        check(&[1, 0], Err(Outage::StoreFaulty.into()));
        assert_eq!(Limit::judge(&Reply::Null), Err(Outage::StoreFaulty.into()));
    }

    #[test]
    fn addresses_are_grouped() {
        fn check(address: &str, expect: &str) {
            let head = Head::new("GET", "https://a/", vec![("cf-connecting-ip", address)]);
            assert_eq!(address_group(&head), expect);
        }
        check("192.0.2.1", "192.0.2.1");
        check("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64");
        check("::ffff:192.0.2.1", "192.0.2.1");
        check("not an address", "unknown");
    }
}
