//! API keys: their form, and what their records say besides claims. A key is a prefix such as
//! `pck_live_`, 256 random bits in 43 digits of base62, and the CRC-32 of both in 6 digits. So
//! secret scanners recognise keys, and mistyped ones are refused without I/O. The checksum detects
//! no forgeries.

use crate::request::syntax::is_api_key_prefix;
use serde_json::{Map, Value};

/// What holds for requests with an API key.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KeyTerms {
    /// The networks from which the key may be used; empty for all.
    pub networks: Vec<String>,
    /// The key's own quotas, by the names of limits.
    pub quotas: Vec<(String, u32)>,
}

impl KeyTerms {
    /// Reads the member `key` of a record or of an introspection response. Returns `None` if it is
    /// malformed. Ignores unknown members.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let members = value.as_object()?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let quota = |(name, quota): (&String, &Value)| {
            Some((name.clone(), u32::try_from(quota.as_u64()?).ok()?))
        };
        Some(Self {
            networks: match members.get("networks") {
                None => Vec::new(),
                Some(networks) => networks.as_array()?.iter().map(text).collect::<Option<_>>()?,
            },
            quotas: match members.get("quotas") {
                None => Vec::new(),
                Some(quotas) => quotas.as_object()?.iter().map(quota).collect::<Option<_>>()?,
            },
        })
    }

    /// Returns the member `key` of a record.
    pub fn value(&self) -> Value {
        let mut members = Map::new();
        if !self.networks.is_empty() {
            let networks = self.networks.iter().cloned().map(Value::from).collect();
            members.insert("networks".to_owned(), Value::Array(networks));
        }
        if !self.quotas.is_empty() {
            let quotas = self.quotas.iter().map(|(name, quota)| (name.clone(), (*quota).into()));
            members.insert("quotas".to_owned(), Value::Object(quotas.collect()));
        }
        Value::Object(members)
    }
}

/// Composes the key of 256 random bits.
pub fn compose(prefix: &str, random: [u8; 32]) -> String {
    let mut text = format!("{prefix}{}", base62::<RANDOM_DIGITS>(random));
    let sum = checksum(&text);
    text.push_str(&sum);
    text
}

/// Returns whether `text` has the prefix, the length, the digits and the checksum of a key.
pub fn is_well_formed(text: &str, prefix: &str) -> bool {
    let digits = text.strip_prefix(prefix).unwrap_or_default();
    if digits.len() != RANDOM_DIGITS + SUM_DIGITS || !digits.bytes().all(|b| DIGITS.contains(&b)) {
        return false;
    }
    let parts = text.split_at_checked(text.len() - SUM_DIGITS);
    parts.is_some_and(|(text, sum)| checksum(text) == sum)
}

/// Returns whether `text` may be the prefix of keys: 3 to 32 lower-case letters, digits and `_`,
/// with a letter first and `_` last.
pub fn is_prefix(text: &str) -> bool {
    is_api_key_prefix(text)
}

fn checksum(text: &str) -> String {
    let mut number = [0; 32];
    if let Some(last) = number.last_chunk_mut() {
        *last = crc32(text.as_bytes()).to_be_bytes();
    }
    base62::<SUM_DIGITS>(number)
}

/// The CRC-32 of zlib, PNG and GitHub's tokens. A table would be larger than the code.
fn crc32(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg())
        })
    });
    !sum
}

/// Returns the last `COUNT` digits of a number in base62, the most significant first.
fn base62<const COUNT: usize>(mut number: [u8; 32]) -> String {
    let mut digits = [b'0'; COUNT];
    for digit in digits.iter_mut().rev() {
        let mut rest = 0;
        for byte in &mut number {
            let value = rest << 8 | usize::from(*byte);
            *byte = u8::try_from(value / DIGITS.len()).unwrap_or_default();
            rest = value % DIGITS.len();
        }
        *digit = DIGITS.get(rest).copied().unwrap_or_default();
    }
    digits.iter().copied().map(char::from).collect()
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 62^43 is more than 2^256.
const RANDOM_DIGITS: usize = 43;
const SUM_DIGITS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn checksum_is_the_crc_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn key_is_composed_of_prefix_digits_and_checksum() {
        let smallest = compose("pck_live_", [0; 32]);
        assert_eq!(smallest.len(), 9 + 43 + 6);
        assert!(smallest.starts_with(&format!("pck_live_{}", "0".repeat(43))), "{smallest}");
        let largest = compose("pck_live_", [255; 32]);
        // 2^256 - 1 in base62.
        let digits = "yhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp1";
        assert_eq!(largest.get(9..52), Some(digits));
        for key in [&smallest, &largest] {
            assert!(is_well_formed(key, "pck_live_"));
            assert!(!is_well_formed(key, "pck_test_") && !is_well_formed(key, "pck_"));
        }
    }

    #[test]
    fn changed_key_is_malformed() {
        let key = compose("pck_live_", [7; 32]);
        for place in 0..key.len() {
            for new in [b'A', b'b', b'0', b'_', b'-'] {
                let mut bytes = key.clone().into_bytes();
                let old = std::mem::replace(&mut bytes[place], new);
                let changed = String::from_utf8(bytes).unwrap();
                assert_eq!(is_well_formed(&changed, "pck_live_"), old == new, "{place} {new}");
            }
        }
        for bad in ["", "pck_live_", &key[1..], &key[..57], &format!("{key}0"), "pck_live_é"] {
            assert!(!is_well_formed(bad, "pck_live_"), "{bad}");
        }
    }

    #[test]
    fn prefix_is_a_word_that_ends_with_an_underscore() {
        for good in ["pck_live_", "a1_", "pck_", &format!("{}_", "a".repeat(31))] {
            assert!(is_prefix(good), "{good}");
        }
        for bad in
            ["", "_", "a_", "pck", "1ck_", "Pck_", "pck-live_", &format!("{}_", "a".repeat(32))]
        {
            assert!(!is_prefix(bad), "{bad}");
        }
    }
}
