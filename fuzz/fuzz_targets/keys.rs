//! An issuer's key set, a record of a token, and a batch of usage.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{Algorithm, Jwks, KeySource, TokenRecord, UsageBatch};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for source in [KeySource::Published, KeySource::Secret] {
        if let Ok((jwks, _)) = Jwks::parse(text, &Algorithm::ALL, source) {
            for key in jwks.keys() {
                let hmac = key.algorithm.name().starts_with("HS");
                assert!(!(hmac && source == KeySource::Published), "a published secret");
                assert!(!key.jwk.contains("\"d\""), "a private member");
            }
        }
    }
    let _ = TokenRecord::decode(text, "", None);
    if let Some(batch) = UsageBatch::decode(text, "", None) {
        let again = UsageBatch::decode(&batch.encode("", None, [0; 12]), "", None);
        assert_eq!(again, Some(batch), "what is read is written");
    }
});
