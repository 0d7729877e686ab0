//! The secrets of API keys.

use crate::random::fill_random;
use portcullis_core::api_key::{compose, is_prefix, is_well_formed};

/// Generates a key of 256 random bits.
pub fn generate(prefix: &str) -> String {
    let mut random = [0; 32];
    fill_random(&mut random);
    compose(prefix, random)
}

/// Returns the first letters of a key, by which people recognise it. They say nothing that helps to
/// guess the rest.
pub fn display_prefix(prefix: &str, key: &str) -> String {
    key.get(..prefix.len() + DISPLAYED_DIGITS).unwrap_or(prefix).to_owned()
}

/// Returns whether a text has the form and the checksum of an API key, with any prefix. Other texts
/// were never issued as keys, so rejecting them needs no query.
pub fn is_api_key(text: &str) -> bool {
    let prefix = text.len().checked_sub(DIGITS).and_then(|end| text.get(..end));
    prefix.is_some_and(|prefix| is_prefix(prefix) && is_well_formed(text, prefix))
}

/// The random digits and the checksum of a key.
const DIGITS: usize = 43 + 6;
const DISPLAYED_DIGITS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::OpaqueToken;

    #[test]
    fn key_of_any_prefix_is_recognised_and_other_tokens_are_not() {
        for prefix in ["pck_live_", "pck_test_", "ab_"] {
            let key = generate(prefix);
            assert!(is_api_key(&key) && key != generate(prefix));
            let shown = display_prefix(prefix, &key);
            assert_eq!(shown.len(), prefix.len() + 4);
            assert!(key.starts_with(&shown));
            for bad in [&key[1..], &key[..key.len() - 1], &format!("{key}0"), &key.to_uppercase()] {
                assert!(!is_api_key(bad), "{bad}");
            }
        }
        for other in ["", "é", "a.b.c", &OpaqueToken::Access.generate(), &"é".repeat(40)] {
            assert!(!is_api_key(other), "{other}");
        }
    }
}
