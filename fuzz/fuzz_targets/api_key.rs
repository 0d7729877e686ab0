//! A credential and a record, separated by a NUL. No input may panic. No other text than a composed
//! key may be read as one, and no record without terms of a key is that of one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{
    Check, Destination, Policy, RequestHead, UnixSeconds, UnverifiedToken, api_key,
};
use std::sync::LazyLock;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let document = r#"{
        "store": {"url":"https://a.example"},
        "upstream": {"url":"https://a.example"},
        "issuers": [{"issuer":"https://i","audience":"api","algorithms":["EdDSA"],
            "jwks_url":"https://i/k","api_key_prefixes":["pck_","pck_live_"]}],
        "routes": [{"name":"a","path":"/*","access":"protected","claims":{"/metadata/tier":"a"},
            "limit":{"quota":5,"window_seconds":1,"by":"subject"}}]}"#;
    let secret = |name: &str| (name == "STORE_TOKEN").then(|| "secret".to_owned());
    Policy::parse(document, secret).expect("a policy without faults")
});

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (text, record) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (text, record) = (String::from_utf8_lossy(text), String::from_utf8_lossy(record));
    let text = text.trim_matches(' ');
    if text.contains(['\r', '\n']) {
        return;
    }
    // A changed key is none.
    let mut bits = [0; 32];
    for (bit, byte) in bits.iter_mut().zip(record.bytes()) {
        *bit = byte;
    }
    let key = api_key::compose("pck_live_", bits);
    assert!(api_key::is_well_formed(&key, "pck_live_") && !api_key::is_well_formed(&key, "pck_"));
    for (at, new) in text.char_indices().take(key.len()) {
        let mut changed: Vec<char> = key.chars().collect();
        let old = std::mem::replace(&mut changed[at % key.len()], new);
        let changed: String = changed.into_iter().collect();
        assert_eq!(api_key::is_well_formed(&changed, "pck_live_"), old == new, "{changed}");
    }

    let is_key = ["pck_", "pck_live_"].iter().any(|own| api_key::is_well_formed(text, own));
    assert_eq!(read(text, &record), is_key, "{text}");
    read(&key, &record);
});

/// Returns whether a text is read as an API key. Authenticates a request with it by a record.
fn read(text: &str, record: &str) -> bool {
    let credential = format!("Bearer {text}");
    let fields = vec![("authorization", credential.as_str()), ("cf-connecting-ip", "192.0.2.1")];
    let head = RequestHead::new("GET", "https://a.example/x", fields);
    let Ok(Destination::Route(route)) = POLICY.destination(&head) else {
        return false;
    };
    let Ok(check) = Check::new(&head, route, &POLICY) else {
        return false;
    };
    let now = UnixSeconds(1_700_000_000);
    let Ok(UnverifiedToken::ApiKey(key)) = check.unverified_token(now) else {
        return false;
    };
    assert!(check.without_token().is_err());
    if let Some(opened) = check.open_key(record.to_owned()) {
        assert!(opened.1.key.is_some());
        if let Ok(verified) = check.accept_key(key.issuer, opened)
            && let Ok(authenticated) = check.authenticate(verified, None, now)
        {
            assert_eq!(check.commands(&authenticated).len(), 2);
            assert!(check.decide(&authenticated, &[]).is_err());
        }
    }
    true
}
