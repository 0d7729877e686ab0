//! Events that are refused, and those of issuers whose rules differ.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn event_is_refused_by_each_thing_that_is_wrong_with_it() {
    let plain = policy(&json!({}));
    let subject = json!({ "format": "iss_sub", "iss": ISS, "sub": "alice" });
    let check = |format, header_changes: Value, claim_changes: Value, expect: Option<Denial>| {
        let (header, claims) =
            (merged(header(format), &header_changes), merged(claims(format), &claim_changes));
        let verdict = read(&plain, format, &header, &claims, &subject).err();
        assert_eq!(verdict, expect, "{format:?} {header_changes} {claim_changes}");
    };
    for format in FORMATS {
        let typ = header(format)["typ"].as_str().unwrap().to_ascii_uppercase();
        check(format, json!({}), json!({}), None);
        check(format, json!({ "typ": typ }), json!({}), None);
        check(format, json!({ "typ": format!("application/{typ}") }), json!({}), None);
        for typ in [json!("at+jwt"), json!("JWT"), json!("dpop+jwt"), json!(""), Value::Null] {
            check(format, json!({ "typ": typ }), json!({}), Some(Denial::EventTypeRefused));
        }
        for other in FORMATS.into_iter().filter(|other| *other != format) {
            let typ = header(other)["typ"].clone();
            check(format, json!({ "typ": typ }), json!({}), Some(Denial::EventTypeRefused));
        }
        check(format, json!({ "typ": 7 }), json!({}), Some(Denial::TokenMalformed));
        check(format, json!({ "alg": "none" }), json!({}), Some(Denial::AlgorithmRefused));
        check(format, json!({ "alg": "HS256" }), json!({}), Some(Denial::AlgorithmRefused));
        check(format, json!({ "crit": ["b64"] }), json!({}), Some(Denial::TokenMalformed));
        let jwk = json!({ "jwk": { "kty": "oct" } });
        check(format, jwk, json!({}), Some(Denial::TokenMalformed));

        let none = || json!({});
        for (name, wrong, expect) in [
            ("iss", json!("https://nobody.example"), Denial::IssuerUnknown),
            ("iss", json!("https://silent.example"), Denial::IssuerUnknown),
            ("iss", json!("https://issuer.example/"), Denial::IssuerUnknown),
            ("iss", json!([ISS]), Denial::TokenMalformed),
            ("iss", Value::Null, Denial::ClaimMissing("iss")),
            ("aud", json!("api"), Denial::AudienceMismatch),
            ("aud", json!([]), Denial::AudienceMismatch),
            ("aud", json!({ "edge": 1 }), Denial::TokenMalformed),
            ("aud", json!(["edge", 7]), Denial::TokenMalformed),
            ("aud", Value::Null, Denial::ClaimMissing("aud")),
            ("iat", json!(NOW + 31), Denial::TokenNotYetValid),
            ("iat", json!(NOW - 86_760), Denial::TokenExpired),
            ("iat", json!("1700000000"), Denial::TokenMalformed),
            ("iat", Value::Null, Denial::ClaimMissing("iat")),
            ("nbf", json!(NOW + 31), Denial::TokenNotYetValid),
            ("exp", json!(NOW - 30), Denial::TokenExpired),
            ("exp", json!("never"), Denial::TokenMalformed),
            ("jti", Value::Null, Denial::ClaimMissing("jti")),
            ("jti", json!(""), Denial::EventMalformed),
            ("jti", json!(7), Denial::EventMalformed),
            ("jti", json!("x".repeat(257)), Denial::EventMalformed),
            ("nonce", json!("n"), Denial::EventMalformed),
        ] {
            check(format, none(), json!({ name: wrong }), Some(expect));
        }
        for (name, right) in [
            ("aud", json!(["api", "edge"])),
            ("iat", json!(NOW + 30)),
            ("iat", json!(NOW - 86_759)),
            ("exp", json!(NOW - 29)),
            ("jti", json!("x".repeat(256))),
        ] {
            check(format, none(), json!({ name: right }), None);
        }
    }
    let format = EventFormat::GlobalRevocation;
    check(format, json!({}), json!({ "exp": null }), Some(Denial::ClaimMissing("exp")));
    let events = json!({ "events": { format!("{RISC}account-disabled"): {} } });
    check(format, json!({}), events, Some(Denial::EventMalformed));
}

#[test]
fn events_member_must_hold_one_event_of_the_format() {
    let plain = policy(&json!({}));
    let logout = "http://schemas.openid.net/event/backchannel-logout";
    let disabled = format!("{RISC}account-disabled");
    for (format, events, is_good) in [
        (EventFormat::Logout, json!({ logout: { "revoke_offline_access": true } }), true),
        (EventFormat::Logout, json!({ logout: [] }), false),
        (EventFormat::Logout, json!({ logout: null }), false),
        (EventFormat::Logout, json!({ disabled.clone(): {} }), false),
        (EventFormat::Logout, json!({ logout: {}, disabled.clone(): {} }), false),
        (EventFormat::Logout, json!({}), false),
        (EventFormat::Logout, json!([logout]), false),
        (EventFormat::Logout, json!(logout), false),
        (EventFormat::Logout, Value::Null, false),
        (EventFormat::SecurityEvent, json!({ disabled.clone(): {} }), true),
        (EventFormat::SecurityEvent, json!({ disabled.clone(): "x" }), false),
        (EventFormat::SecurityEvent, json!({ logout: {} }), false),
        (
            EventFormat::SecurityEvent,
            json!({ disabled.clone(): {}, format!("{CAEP}session-revoked"): {} }),
            false,
        ),
        (EventFormat::SecurityEvent, json!({}), false),
        (EventFormat::SecurityEvent, json!([]), false),
        (EventFormat::SecurityEvent, Value::Null, false),
    ] {
        let claims = merged(claims(format), &json!({ "events": events }));
        let verdict = read(&plain, format, &header(format), &claims, &Value::Null).err();
        let expect = (!is_good).then_some(Denial::EventMalformed);
        assert_eq!(verdict, expect, "{format:?} {events}");
    }
}

#[test]
fn untyped_event_passes_only_where_the_rules_say_so() {
    let lenient = policy(&json!({ "type_required": false }));
    let subject = json!({ "format": "iss_sub", "iss": ISS, "sub": "alice" });
    let url = json!({ "aud": "https://api.example/events" });
    for (format, typ, changes, is_good) in [
        (EventFormat::Logout, json!("JWT"), json!({}), true),
        (EventFormat::Logout, Value::Null, json!({}), true),
        (EventFormat::Logout, json!("at+jwt"), json!({}), false),
        (EventFormat::Logout, json!("secevent+jwt"), json!({}), false),
        (EventFormat::SecurityEvent, json!("jwt"), json!({}), true),
        (EventFormat::GlobalRevocation, json!("JWT"), url.clone(), true),
        (EventFormat::GlobalRevocation, Value::Null, url.clone(), true),
        // An ID token or an access token of the same audience revokes nothing.
        (EventFormat::GlobalRevocation, json!("JWT"), json!({}), false),
        (
            EventFormat::GlobalRevocation,
            json!("JWT"),
            json!({ "aud": ["edge", "https://a"] }),
            false,
        ),
        (EventFormat::GlobalRevocation, json!("at+jwt"), url, false),
    ] {
        let header = merged(header(format), &json!({ "typ": typ }));
        let claims = merged(claims(format), &changes);
        let verdict = read(&lenient, format, &header, &claims, &subject).err();
        let expect = (!is_good).then_some(Denial::EventTypeRefused);
        assert_eq!(verdict, expect, "{format:?} {typ} {changes}");
    }
}

#[test]
fn events_of_a_separate_sender_have_its_issuer_and_keys() {
    let format = EventFormat::SecurityEvent;
    let rules = json!({ "issuer": EVENTS_ISS, "jwks_url": "https://events.example/jwks",
        "algorithms": ["ES256"] });
    let policy = policy(&rules);
    let header = merged(header(format), &json!({ "alg": "ES256" }));
    let subject = json!({ "format": "iss_sub", "iss": EVENTS_ISS, "sub": "alice" });
    for (iss, subject_iss, expect) in [
        (EVENTS_ISS, EVENTS_ISS, Ok(vec!["sub".to_owned()])),
        (EVENTS_ISS, ISS, Ok(vec!["sub".to_owned()])),
        (EVENTS_ISS, "https://other.example", Err(Denial::SubjectRefused)),
        (ISS, ISS, Err(Denial::IssuerUnknown)),
    ] {
        let subject = merged(subject.clone(), &json!({ "iss": subject_iss }));
        let claims = merged(claims(format), &json!({ "iss": iss, "sub_id": subject }));
        assert_eq!(marks(read(&policy, format, &header, &claims, &Value::Null)), expect, "{iss}");
    }
    let claims = merged(claims(format), &json!({ "iss": EVENTS_ISS, "sub_id": subject }));
    let token = compact(&header, &claims);
    let fields = vec![("content-type", "application/secevent+jwt")];
    let head = RequestHead::new("POST", "https://api.example/events", fields);
    let request = EventRequest::read(format, &head, &route(), &token).unwrap();
    let place = request.parse(&policy, UnixSeconds(NOW)).unwrap().key_set();
    let owner = policy.key_owner(place).unwrap();
    assert_eq!(owner.issuer, EVENTS_ISS);
    assert!(place >= policy.issuers.len() && policy.key_owner(place + 2).is_none());
    // The keys of the tokens do not sign these events.
    let wrong = merged(header, &json!({ "alg": "EdDSA" }));
    let verdict = read(&policy, format, &wrong, &claims, &Value::Null).err();
    assert_eq!(verdict, Some(Denial::AlgorithmRefused));
}

#[test]
fn format_that_the_issuer_does_not_use_is_refused() {
    let policy = policy(&json!({}));
    for format in FORMATS {
        let claims = merged(claims(format), &json!({ "iss": "https://other.example" }));
        let subject = json!({ "format": "opaque", "id": "alice" });
        let verdict = read(&policy, format, &header(format), &claims, &subject).err();
        let expect = (format != EventFormat::Logout).then_some(Denial::EventRefused);
        assert_eq!(verdict, expect, "{format:?}");
    }
}

#[test]
fn body_is_read_by_its_media_type() {
    let of = |media_type: &str| {
        let head =
            RequestHead::new("POST", "https://a.example/e", vec![("content-type", media_type)]);
        EventFormat::of(&head)
    };
    for (media_type, expect) in [
        ("application/x-www-form-urlencoded", Some(EventFormat::Logout)),
        ("APPLICATION/SECEVENT+JWT ; a=b", Some(EventFormat::SecurityEvent)),
        ("application/json;charset=utf-8", Some(EventFormat::GlobalRevocation)),
        ("application/jwt", None),
        ("text/plain", None),
        ("", None),
    ] {
        assert_eq!(of(media_type), expect, "{media_type}");
    }
    let head = RequestHead::new("POST", "https://a.example/e", Vec::new());
    assert_eq!(EventFormat::of(&head), None);
    let read = |format, body: &str| EventRequest::read(format, &head, &route(), body).err();
    for body in ["", "logout_token=", "token=a.b.c", "logout_token=a&logout_token=b", "%"] {
        assert_eq!(read(EventFormat::Logout, body), Some(Denial::EventMalformed), "{body}");
    }
    assert_eq!(read(EventFormat::GlobalRevocation, "{}"), Some(Denial::TokenMissing));
    for token in ["", "garbage", "a.b", "a.b.c", "..", "e30.e30.", "e30.e30.e30.e30.e30"] {
        let verdict =
            read_at(&policy(&json!({})), EventFormat::SecurityEvent, token, &Value::Null, NOW);
        assert_eq!(verdict.err(), Some(Denial::TokenMalformed), "{token}");
    }
}
