//! A pushed event: the first byte chooses the format, and NULs separate header, payload and the
//! body of a global revocation. No input may panic, and none may write anything but markers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_core::{Destination, EventFormat, EventRequest, Policy, RequestHead, UnixSeconds};
use std::sync::LazyLock;

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let document = r#"{
        "store": {"url":"https://a.example"},
        "upstream": {"url":"https://a.example"},
        "issuers": [{"issuer":"https://i","audience":"api","algorithms":["EdDSA","RS256","ES256"],
            "jwks_url":"https://i/k","events":{"audience":["edge","https://a.example/e"],
            "accept":["logout","security_events","global_revocation"],"type_required":false,
            "emails_are_subjects":true,"logout_ends":"subject"}}],
        "routes": [{"name":"e","path":"/e","access":"events"}]}"#;
    let secret = |name: &str| (name == "STORE_TOKEN").then(|| "secret".to_owned());
    Policy::parse(document, secret).expect("a policy without faults")
});

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let mut parts = rest.splitn(3, |byte| *byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (header, payload, body) = (part(), part(), String::from_utf8_lossy(part()).into_owned());
    let token = format!("{}.{}.AAAA", base64url(header), base64url(payload));
    let (media_type, body) = match choice % 3 {
        0 => ("application/x-www-form-urlencoded", format!("logout_token={token}&{body}")),
        1 => ("application/secevent+jwt", token.clone()),
        _ => ("application/json", body),
    };
    let authorization = format!("Bearer {token}");
    let fields = vec![("content-type", media_type), ("authorization", authorization.as_str())];
    let head = RequestHead::new("POST", "https://a.example/e", fields);
    let Ok(Destination::Route(route)) = POLICY.destination(&head) else {
        return;
    };
    let format = EventFormat::of(&head).expect("a known media type");
    let Ok(request) = EventRequest::read(format, &head, route, &body) else {
        return;
    };
    let now = UnixSeconds(1_700_000_000);
    let Ok(event) = request.parse(&POLICY, now) else {
        return;
    };
    assert!(POLICY.key_owner(event.key_set()).is_some());
    let event = event.accept(true).expect("the signature is said to be good");
    let own = |key: &String| key.starts_with("pc:revoked:");
    assert!(event.markers.iter().all(own) && event.markers.len() <= 2);
    assert_eq!(event.marks(now, now).len(), event.markers.len());
    assert!(
        request.parse(&POLICY, now).expect("what parses once parses twice").accept(false).is_err()
    );
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
