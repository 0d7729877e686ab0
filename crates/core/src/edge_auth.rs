//! Authenticates the edge to the auth service: a message authentication code (MAC) over the edge's
//! statement about a client.

use crate::time::UnixSeconds;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::fmt;

/// The edge's statement about a request that it forwards to the auth service.
#[derive(Clone, Copy, Debug, Default)]
pub struct EdgeStatement<'a> {
    /// The method.
    pub method: &'a str,
    /// The path. The query does not count, because `fetch` may encode it again.
    pub path: &'a str,
    /// The client's address; an empty text if it is unknown.
    pub address: &'a str,
    /// The client's country; an empty text if it is unknown.
    pub country: &'a str,
    /// The client's `User-Agent`; an empty text if it has none. A value other than visible ASCII
    /// counts as empty, because servers decode it differently.
    pub device: &'a str,
    /// The request's id.
    pub request_id: &'a str,
}

impl EdgeStatement<'_> {
    /// Returns the text to authenticate; `None` if a field has a line break.
    fn message(&self, seconds: u64) -> Option<String> {
        let is_visible = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b);
        let device = Some(self.device).filter(|text| text.bytes().all(is_visible));
        let breaks = |text: &str| text.contains(['\n', '\r']);
        let seconds = seconds.to_string();
        let fields = [
            VERSION,
            self.method,
            self.path,
            self.address,
            self.country,
            device.unwrap_or_default(),
            self.request_id,
            &seconds,
        ];
        if breaks(self.device) || fields.into_iter().any(breaks) {
            return None;
        }
        Some(fields.join("\n"))
    }
}

/// A key that the edge and the auth service share.
#[derive(Clone)]
pub struct EdgeAuthKey(Hmac<Sha256>);

impl fmt::Debug for EdgeAuthKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EdgeAuthKey(REDACTED)")
    }
}

impl EdgeAuthKey {
    /// Parses a configured key: 32 bytes in base64. Returns `None` if it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let key = STANDARD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()?;
        let key = (key.len() == KEY_BYTES).then_some(key)?;
        Some(Self(Hmac::new_from_slice(&key).ok()?))
    }

    /// Returns the value of [`EDGE_AUTH_FIELD`] for a request at `now`: HMAC-SHA-256 (RFC 2104) of
    /// the statement. Returns `None` if a field has a line break.
    pub fn sign(&self, statement: &EdgeStatement<'_>, now: UnixSeconds) -> Option<String> {
        let mac = self.mac(&statement.message(now.0)?).finalize().into_bytes();
        Some(format!("{VERSION};t={now};mac={}", URL_SAFE_NO_PAD.encode(mac)))
    }

    fn mac(&self, message: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(message.as_bytes());
        mac
    }
}

/// The keys that the auth service accepts.
#[derive(Clone, Debug)]
pub struct EdgeAuthKeys {
    /// The key that edges should use.
    pub current: EdgeAuthKey,
    /// The key that some edges still use during a rotation.
    pub previous: Option<EdgeAuthKey>,
}

/// The reason why a request does not count as the edge's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EdgeAuthError {
    /// The field is malformed, or the statement has a line break.
    Malformed,
    /// No key produces this MAC for this statement.
    Mismatch,
    /// The MAC is correct but too old, or made by a clock that is ahead.
    Stale,
}

impl EdgeAuthKeys {
    /// Verifies the value of [`EDGE_AUTH_FIELD`] at `now`, in constant time for each key. A MAC is
    /// valid for 60 s before and after its time.
    ///
    /// # Errors
    ///
    /// [`EdgeAuthError`] says why the request does not count as the edge's.
    pub fn verify(
        &self,
        field: &str,
        statement: &EdgeStatement<'_>,
        now: UnixSeconds,
    ) -> Result<(), EdgeAuthError> {
        let claim = MacClaim::parse(field).ok_or(EdgeAuthError::Malformed)?;
        let message = statement.message(claim.seconds).ok_or(EdgeAuthError::Malformed)?;
        let keys = [Some(&self.current), self.previous.as_ref()];
        let verifies = |key: &EdgeAuthKey| key.mac(&message).verify_slice(&claim.mac).is_ok();
        if !keys.into_iter().flatten().any(verifies) {
            return Err(EdgeAuthError::Mismatch);
        }
        match now.0.abs_diff(claim.seconds) <= WINDOW_SECONDS {
            true => Ok(()),
            false => Err(EdgeAuthError::Stale),
        }
    }
}

/// The parsed value of [`EDGE_AUTH_FIELD`].
struct MacClaim {
    seconds: u64,
    mac: Vec<u8>,
}

impl MacClaim {
    fn parse(field: &str) -> Option<Self> {
        let rest = field.strip_prefix(VERSION)?.strip_prefix(";t=")?;
        let (seconds, mac) = rest.split_once(";mac=")?;
        // `parse` would accept a plus sign.
        let is_number = seconds.bytes().all(|b| b.is_ascii_digit());
        let seconds = is_number.then(|| seconds.parse().ok())??;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        Some(Self { seconds, mac })
    }
}

/// The header field that holds the MAC.
pub const EDGE_AUTH_FIELD: &str = "portcullis-edge-auth";
/// The header field that holds the client's address. Proxies between the edge and the auth service
/// append to `X-Forwarded-For` or replace it, but do not change this field.
pub const EDGE_ADDRESS_FIELD: &str = "portcullis-address";

const VERSION: &str = "v1";
const KEY_BYTES: usize = 32;
/// How far the clocks of edge and auth service may differ, including the time that a request
/// travels.
const WINDOW_SECONDS: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);
    const STATEMENT: EdgeStatement<'_> = EdgeStatement {
        method: "POST",
        path: "/auth/login",
        address: "192.0.2.1",
        country: "DE",
        device: "Mozilla/5.0",
        request_id: "0af76519-16cd-43dd-8448-eb211c80319c",
    };

    fn key(byte: u8) -> EdgeAuthKey {
        EdgeAuthKey::parse(&STANDARD.encode([byte; 32])).unwrap()
    }

    fn keys(current: u8, previous: Option<u8>) -> EdgeAuthKeys {
        EdgeAuthKeys { current: key(current), previous: previous.map(key) }
    }

    /// The value was computed by Python's `hmac`.
    #[test]
    fn mac_is_hmac_sha256_of_the_documented_lines() {
        assert_eq!(key(1).sign(&STATEMENT, NOW).as_deref(), Some(EXPECTED));
    }

    #[test]
    fn each_field_and_the_time_are_authenticated() {
        let (keys, field) = (keys(1, None), key(1).sign(&STATEMENT, NOW).unwrap());
        let verify = |statement: EdgeStatement<'_>| keys.verify(&field, &statement, NOW);
        assert_eq!(verify(STATEMENT), Ok(()));
        for changed in [
            EdgeStatement { method: "GET", ..STATEMENT },
            EdgeStatement { path: "/auth/refresh", ..STATEMENT },
            EdgeStatement { address: "192.0.2.2", ..STATEMENT },
            EdgeStatement { country: "", ..STATEMENT },
            EdgeStatement { device: "curl", ..STATEMENT },
            EdgeStatement { request_id: "1", ..STATEMENT },
            // The same text, divided differently among the fields.
            EdgeStatement { address: "", country: "192.0.2.1\nDE", ..STATEMENT },
        ] {
            assert!(verify(changed).is_err(), "{changed:?}");
        }
        let later = field.replace("t=1700000000", "t=1700000001");
        assert_eq!(keys.verify(&later, &STATEMENT, NOW), Err(EdgeAuthError::Mismatch));
    }

    #[test]
    fn mac_expires_after_a_minute_on_either_side() {
        let (keys, field) = (keys(1, None), key(1).sign(&STATEMENT, NOW).unwrap());
        for (now, expect) in [
            (NOW.0 - 61, Err(EdgeAuthError::Stale)),
            (NOW.0 - 60, Ok(())),
            (NOW.0 + 60, Ok(())),
            (NOW.0 + 61, Err(EdgeAuthError::Stale)),
        ] {
            assert_eq!(keys.verify(&field, &STATEMENT, UnixSeconds(now)), expect, "{now}");
        }
    }

    #[test]
    fn previous_key_is_accepted_while_keys_rotate() {
        let field = key(1).sign(&STATEMENT, NOW).unwrap();
        let verify = |keys: EdgeAuthKeys| keys.verify(&field, &STATEMENT, NOW);
        assert_eq!(verify(keys(2, Some(1))), Ok(()));
        assert_eq!(verify(keys(2, Some(3))), Err(EdgeAuthError::Mismatch));
        assert_eq!(verify(keys(2, None)), Err(EdgeAuthError::Mismatch));
    }

    #[test]
    fn malformed_field_is_rejected() {
        let (keys, good) = (keys(1, None), key(1).sign(&STATEMENT, NOW).unwrap());
        for field in [
            "",
            "v1",
            "v1;t=1700000000",
            "v1;t=1700000000;mac=",
            "v1;t=+1700000000;mac=AAAA",
            "v1;t=;mac=AAAA",
            "v1;t=99999999999999999999;mac=AAAA",
            "v2;t=1700000000;mac=AAAA",
            &good.replace("v1", "v2"),
            &format!("{good}A"),
            &format!("{good}="),
            &format!("{good};"),
            &format!(" {good}"),
            &format!("{good}, {good}"),
            good.get(..good.len() - 1).unwrap(),
        ] {
            assert!(keys.verify(field, &STATEMENT, NOW).is_err(), "{field}");
        }
    }

    #[test]
    fn line_break_is_not_signed_and_binary_device_counts_as_empty() {
        for broken in [
            EdgeStatement { device: "a\nb", ..STATEMENT },
            EdgeStatement { request_id: "a\rb", ..STATEMENT },
        ] {
            assert_eq!(key(1).sign(&broken, NOW), None);
        }
        let field = key(1).sign(&EdgeStatement { device: "caf\u{e9}", ..STATEMENT }, NOW).unwrap();
        let without = EdgeStatement { device: "", ..STATEMENT };
        assert_eq!(keys(1, None).verify(&field, &without, NOW), Ok(()));
    }

    #[test]
    fn key_has_32_bytes_and_is_not_shown() {
        let text = STANDARD.encode([1; 32]);
        for bad in ["", "a", &STANDARD.encode([1; 31]), &STANDARD.encode([1; 33])] {
            assert!(EdgeAuthKey::parse(bad).is_none(), "{bad}");
        }
        assert!(EdgeAuthKey::parse(&format!(" {text}\n")).is_some());
        assert!(EdgeAuthKey::parse(&URL_SAFE_NO_PAD.encode([0xff; 32])).is_some());
        assert!(!format!("{:?}", keys(1, Some(2))).contains("AQEB"));
    }

    const EXPECTED: &str = "v1;t=1700000000;mac=34Jpsas0yzQO-vHfOGKDfHBnDd_my0m2RmdF3iVhe3E";
}
