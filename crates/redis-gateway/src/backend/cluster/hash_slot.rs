//! Hash slots: the part of a Cluster that a key belongs to.

/// Returns the hash slot of a key: the CRC-16 (XMODEM) of its hash tag, or of all of it.
///
/// The hash tag is the text between the first `{` and the next `}`, unless it is empty.
pub fn hash_slot(key: &[u8]) -> u16 {
    let open = key.iter().position(|byte| *byte == b'{').map(|open| open + 1);
    let tag = open.and_then(|open| {
        let rest = key.get(open..)?;
        rest.get(..rest.iter().position(|byte| *byte == b'}')?).filter(|tag| !tag.is_empty())
    });
    let crc = tag.unwrap_or(key).iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % HASH_SLOTS
}

/// The number of hash slots in every Cluster.
pub const HASH_SLOTS: u16 = 16384;

#[cfg(test)]
mod tests {
    use super::*;
    use redis::cluster_routing::Slot;

    #[test]
    fn hash_slot_matches_cluster_keyslot() {
        // The expected values are replies to CLUSTER KEYSLOT.
        for (key, slot) in [
            ("foo", 12182),
            ("bar", 5061),
            ("", 0),
            ("123456789", 12739),
            ("{foo}x", 12182),
            ("x{foo}{bar}", 12182),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("{foo", 13308),
        ] {
            assert_eq!(hash_slot(key.as_bytes()), slot, "{key}");
        }
    }

    /// Compares with the client library's own implementation.
    fn check(key: &[u8]) {
        assert_eq!(Slot::new(hash_slot(key)), Some(Slot::for_key(key)), "{}", key.escape_ascii());
    }

    #[test]
    fn hash_slot_matches_the_client_library() {
        let braces = ["", "{", "}", "{}", "}{", "{{", "}}", "{a}", "{a}{b}", "{}{a}", "{{a}}"];
        for number in 0..20_000_u32 {
            check(number.to_string().as_bytes());
            check(&number.to_be_bytes());
            check(format!("user:{{{number}}}:session").as_bytes());
        }
        for first in braces {
            for second in braces {
                for text in ["", "x", "key:1", "\r\n", "\u{e9}"] {
                    check(format!("{first}{text}{second}").as_bytes());
                    check(format!("{text}{first}y{second}{text}").as_bytes());
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn hash_slot_matches_the_client_library_for_any_bytes(
            key in proptest::collection::vec(
                proptest::prop_oneof![
                    2 => proptest::num::u8::ANY,
                    1 => proptest::strategy::Just(b'{'),
                    1 => proptest::strategy::Just(b'}'),
                ],
                0..24,
            ),
        ) {
            check(&key);
        }
    }
}
