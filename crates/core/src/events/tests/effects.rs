//! The commands of the store, and the responses.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn repeated_event_revokes_no_more_than_the_first() {
    let (policy, keys) = (policy(&json!({ "token_life_seconds_max": 900 })), StoreKeys::new("pc"));
    let format = EventFormat::Logout;
    let event = |iat: u64| {
        let claims = merged(claims(format), &json!({ "sid": null, "iat": iat }));
        read(&policy, format, &header(format), &claims, &Value::Null).unwrap()
    };
    let words = |command: &redis_rest::Command| -> Vec<String> {
        (3..7).map(|at| command.text(at).unwrap().to_owned()).collect()
    };
    let own = event(NOW - 5);
    let content = own.content();
    let claim = own.claim(content, UnixSeconds(NOW));
    let value = format!("{NOW}:{content}");
    assert_eq!(claim.text(1), Some(REVOKE_SCRIPT));
    assert_eq!(words(&claim), [&keys.event(ISS, "e1"), "first", &value, "1500000"]);
    let first = |text: &str| Event::first_arrival(&redis_rest::Reply::text(text), content);
    assert_eq!(first(&value), Ok(UnixSeconds(NOW)));
    let other = crate::token_hash::TokenHash::of("another subject");
    assert_eq!(first(&format!("{NOW}:{other}")), Err(Denial::EventMalformed.into()));
    for wrong in ["soon", "", &NOW.to_string(), &format!("soon:{content}")] {
        assert_eq!(first(wrong), Err(Outage::StoreBadResponse.into()), "{wrong}");
    }
    let null = Event::first_arrival(&redis_rest::Reply::Null, content);
    assert_eq!(null, Err(Outage::StoreBadResponse.into()));
    let key = keys.revoked_sub(ISS, "alice");
    let marks = |event: &Event, now: u64| {
        let commands = event.marks(UnixSeconds(NOW), UnixSeconds(now));
        commands.iter().map(words).collect::<Vec<_>>()
    };
    assert_eq!(marks(&own, NOW), [[&key, "last", &NOW.to_string(), "900000"]]);
    // Redelivered 100 s later: up to the same moment, until the same moment.
    assert_eq!(marks(&own, NOW + 100), [[&key, "last", &NOW.to_string(), "800000"]]);
    // The issuer's clock is ahead, and so may be the `iat` of its tokens.
    let ahead = (NOW + 20).to_string();
    assert_eq!(marks(&event(NOW + 20), NOW), [[&key, "last", &ahead, "920000"]]);
}

#[test]
fn refusal_has_the_form_that_its_format_asks_for() {
    let body = |format: EventFormat, refusal: Refusal| -> Option<Value> {
        let text = format.refusal_body(refusal, "r1")?;
        Some(serde_json::from_str(&text).unwrap())
    };
    for (denial, code, err) in [
        (Denial::SignatureInvalid, "signature_invalid", "invalid_key"),
        (Denial::KeyUnknown, "key_unknown", "invalid_key"),
        (Denial::IssuerUnknown, "issuer_unknown", "invalid_issuer"),
        (Denial::AudienceMismatch, "audience_mismatch", "invalid_audience"),
        (Denial::EventRefused, "event_refused", "access_denied"),
        (Denial::EventMalformed, "event_malformed", "invalid_request"),
        (Denial::TokenExpired, "token_expired", "invalid_request"),
        (Denial::AlgorithmRefused, "algorithm_refused", "invalid_key"),
        (Denial::BodyIncomplete, "body_incomplete", "invalid_request"),
        (Denial::ClaimMissing("aud"), "claim_missing", "invalid_request"),
        (Denial::EventTypeRefused, "event_type_refused", "invalid_request"),
        (Denial::SubjectRefused, "subject_refused", "invalid_request"),
        (Denial::TokenMalformed, "token_malformed", "invalid_request"),
        (Denial::TokenMissing, "token_missing", "invalid_request"),
        (Denial::TokenNotYetValid, "token_not_yet_valid", "invalid_request"),
    ] {
        let security = body(EventFormat::SecurityEvent, denial.into()).unwrap();
        assert_eq!((security["err"].as_str(), security["code"].as_str()), (Some(err), Some(code)));
        assert_eq!(security["description"], denial.to_string());
        let logout = body(EventFormat::Logout, denial.into()).unwrap();
        assert_eq!(
            (logout["error"].as_str(), logout["code"].as_str()),
            (Some("invalid_request"), Some(code))
        );
        assert_eq!(body(EventFormat::GlobalRevocation, denial.into()), None);
    }
    for format in FORMATS {
        assert_eq!(body(format, Outage::StoreTimeout.into()), None, "a 503 is retried");
        assert_eq!(body(format, Denial::BodyTooLarge.into()), None);
        assert_eq!(body(format, Denial::MethodNotAllowed.into()), None);
    }
    assert_eq!(FORMATS.map(|format| format.answer().status), [200, 202, 204]);
}

#[test]
fn revoke_script_is_allowed_by_the_example_tokens() {
    assert_eq!(crate::store::script::documented_tokens(REVOKE_SCRIPT), 1);
}
