//! The store's response, and the replies that are parsed from it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_rest::decode_replies;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for count in 0..4 {
        if let Ok(replies) = decode_replies(text, count) {
            assert_eq!(replies.len(), count);
        }
    }
});
