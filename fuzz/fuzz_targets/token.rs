//! A JWT's header and payload, separated by a NUL, in an otherwise valid request. No input may
//! panic, and none may be accepted before its signature was verified.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{Check, Destination, Policy, RequestHead, UnixSeconds, UnverifiedToken};
use std::sync::LazyLock;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let document = r#"{
        "store": {"url":"https://a.example"},
        "upstream": {"url":"https://a.example"},
        "issuers": [{"issuer":"https://i","audience":"api","algorithms":["EdDSA","RS256","ES256"],
            "jwks_url":"https://i/k","token_type":"off"}],
        "routes": [{"name":"a","path":"/*","access":"protected","claims":{"tenant":"acme"}}]}"#;
    let secret = |name: &str| (name == "STORE_TOKEN").then(|| "secret".to_owned());
    Policy::parse(document, secret).expect("a policy without faults")
});

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (header, payload) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let token = format!("Bearer {}.{}.AAAA", base64url(header), base64url(payload));
    let head = RequestHead::new("GET", "https://a.example/x", vec![("authorization", &token)]);
    let Ok(Destination::Route(route)) = POLICY.destination(&head) else {
        return;
    };
    let Ok(check) = Check::new(&head, route, &POLICY) else {
        return;
    };
    assert!(check.without_token().is_err());
    let now = UnixSeconds(1_700_000_000);
    if let Ok(UnverifiedToken::Jwt(jwt)) = check.unverified_token(now) {
        let again = check.unverified_token(now);
        assert!(matches!(again, Ok(UnverifiedToken::Jwt(_))), "what parses once parses twice");
        assert!(check.accept_signature(jwt, false).is_err());
    }
});

fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut word = 0_u32;
        for place in 0..3 {
            word = word << 8 | u32::from(chunk.get(place).copied().unwrap_or(0));
        }
        for place in 0..=chunk.len() {
            text.push(char::from(DIGITS[(word >> (18 - 6 * place) & 63) as usize]));
        }
    }
    text
}
