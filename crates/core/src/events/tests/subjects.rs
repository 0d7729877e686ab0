//! The markers that each event writes.

use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn logout_token_ends_its_session_or_else_its_subject() {
    let check = |rules: Value, changes: Value, expect: Result<&[&str], Denial>| {
        let format = EventFormat::Logout;
        let claims = merged(claims(format), &changes);
        let found = marks(read(&policy(&rules), format, &header(format), &claims, &Value::Null));
        let expect = expect.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(found, expect, "{rules} {changes}");
    };
    let subject = || json!({ "logout_ends": "subject" });
    check(json!({}), json!({}), Ok(&["sid"]));
    check(json!({}), json!({ "sid": null }), Ok(&["sub"]));
    check(json!({}), json!({ "sub": null }), Ok(&["sid"]));
    check(subject(), json!({}), Ok(&["sid", "sub"]));
    check(subject(), json!({ "sub": null }), Ok(&["sid"]));
    for wrong in [json!(""), json!(7), json!({})] {
        check(json!({}), json!({ "sid": wrong }), Err(Denial::EventMalformed));
        check(json!({}), json!({ "sub": wrong, "sid": null }), Err(Denial::EventMalformed));
        check(json!({}), json!({ "sub": wrong }), Err(Denial::EventMalformed));
    }
    check(json!({}), json!({ "sub": null, "sid": null }), Err(Denial::EventMalformed));
}

/// Returns the markers of a security event of this type about this subject.
fn security_event(rules: &Value, uri: &str, subject: &Value) -> Result<Vec<String>, Denial> {
    let format = EventFormat::SecurityEvent;
    let changes = json!({ "sub_id": subject, "events": { uri: {} } });
    let claims = merged(claims(format), &changes);
    marks(read(&policy(rules), format, &header(format), &claims, &Value::Null))
}

#[test]
fn subject_identifier_is_resolved_within_its_issuer() {
    let user = || json!({ "format": "iss_sub", "iss": ISS, "sub": "alice" });
    let session = || json!({ "format": "opaque", "id": "s1" });
    let foreign = || json!({ "format": "iss_sub", "iss": "https://other.example", "sub": "alice" });
    let emails = json!({ "emails_are_subjects": true });
    let plain = json!({});
    let [revoked, disabled] = [format!("{CAEP}session-revoked"), format!("{RISC}account-disabled")];
    let check = |rules: &Value, uri: &str, subject: Value, expect: Result<&[&str], Denial>| {
        let expect = expect.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(security_event(rules, uri, &subject), expect, "{uri} {subject}");
    };
    let email = || json!({ "format": "email", "email": "alice@example.org" });
    for uri in [&revoked, &disabled] {
        check(&plain, uri, user(), Ok(&["sub"]));
        check(&plain, uri, foreign(), Err(Denial::SubjectRefused));
        check(&plain, uri, email(), Err(Denial::SubjectRefused));
        check(&emails, uri, email(), Ok(&["email"]));
        let legacy = json!({ "subject_type": "iss-sub", "iss": ISS, "sub": "alice" });
        check(&plain, uri, legacy, Ok(&["sub"]));
        check(&plain, uri, json!({ "format": "jwt_id", "iss": ISS, "jti": "t1" }), Ok(&["jti"]));
        let foreign_token =
            json!({ "format": "jwt_id", "iss": "https://other.example", "jti": "t1" });
        check(&plain, uri, foreign_token, Err(Denial::SubjectRefused));
        for format in ["account", "phone_number", "did", "uri", "aliases", "saml_assertion_id", ""]
        {
            check(&plain, uri, json!({ "format": format }), Err(Denial::SubjectRefused));
        }
        for wrong in [
            json!({}),
            json!({ "format": 7 }),
            json!({ "format": "iss_sub", "iss": ISS }),
            json!({ "format": "iss_sub", "iss": ISS, "sub": "" }),
            json!({ "format": "iss_sub", "iss": ISS, "sub": ["alice"] }),
            json!({ "format": "iss_sub", "sub": "alice" }),
            json!({ "format": "opaque" }),
            json!([]),
            json!("alice"),
        ] {
            check(&plain, uri, wrong, Err(Denial::EventMalformed));
        }
        let complex = json!({ "format": "complex", "user": user(), "device": { "format": "opaque",
            "id": "d" } });
        check(&plain, uri, complex, Ok(&["sub"]));
        let foreign_user = json!({ "format": "complex", "user": foreign(), "session": session() });
        check(&plain, uri, foreign_user, Err(Denial::SubjectRefused));
        let tenant = json!({ "format": "complex", "tenant": session() });
        check(&plain, uri, tenant, Err(Denial::SubjectRefused));
        let nested =
            json!({ "format": "complex", "user": { "format": "complex", "user": user() } });
        check(&plain, uri, nested, Err(Denial::SubjectRefused));
        check(&plain, uri, json!({ "session": session() }), Ok(&["sid"]));
        let wrong = json!({ "format": "complex", "session": { "format": "email", "email": "a" } });
        check(&plain, uri, wrong, Err(Denial::SubjectRefused));
        check(&plain, uri, json!({ "user": "alice" }), Err(Denial::EventMalformed));
    }
    let opaque = || json!({ "format": "opaque", "id": "alice" });
    check(&plain, &disabled, opaque(), Ok(&["sub"]));
    check(&plain, &revoked, session(), Ok(&["sid", "sub s1"]));
    let both = || json!({ "format": "complex", "user": user(), "session": session() });
    check(&plain, &revoked, both(), Ok(&["sid"]));
    check(&plain, &disabled, both(), Ok(&["sub"]));
    check(&json!({ "logout_ends": "subject" }), &revoked, both(), Ok(&["sid", "sub"]));
}

#[test]
fn subject_may_be_in_the_event_or_the_claims() {
    let plain = policy(&json!({}));
    let format = EventFormat::SecurityEvent;
    let read = |changes: Value| {
        let claims = merged(claims(format), &changes);
        marks(read(&plain, format, &header(format), &claims, &Value::Null))
    };
    let uri = format!("{RISC}account-disabled");
    let subject = json!({ "subject_type": "iss-sub", "iss": ISS, "sub": "alice" });
    let inner = json!({ "sub_id": null, "events": { uri: { "subject": subject } } });
    assert_eq!(read(inner), Ok(vec!["sub".to_owned()]));
    assert_eq!(read(json!({ "sub_id": null, "sub": "alice" })), Ok(vec!["sub".to_owned()]));
    assert_eq!(read(json!({ "sub_id": null })), Err(Denial::EventMalformed));
    assert_eq!(read(json!({ "sub_id": "alice", "sub": "alice" })), Err(Denial::EventMalformed));
}

#[test]
fn each_type_of_event_has_its_effect() {
    let user = json!({ "format": "iss_sub", "iss": ISS, "sub": "alice" });
    let event = |uri: &str| {
        let format = EventFormat::SecurityEvent;
        let claims = merged(
            claims(format),
            &json!({ "sub_id": user, "events": { uri: { "status": "paused" } } }),
        );
        read(&policy(&json!({})), format, &header(format), &claims, &Value::Null).unwrap()
    };
    let oauth = "https://schemas.openid.net/secevent/oauth/event-type/tokens-revoked";
    let revoking = ["session-revoked", "token-claims-change", "credential-change"];
    let risc = [
        "account-disabled",
        "account-purged",
        "account-credential-change-required",
        "credential-compromise",
        "sessions-revoked",
    ];
    let revoking = revoking
        .map(|name| format!("{CAEP}{name}"))
        .into_iter()
        .chain(risc.map(|name| format!("{RISC}{name}")))
        .chain([oauth.to_owned()]);
    for uri in revoking {
        assert!(!event(&uri).markers.is_empty() && uri.ends_with(event(&uri).name), "{uri}");
    }
    let ssf = "https://schemas.openid.net/secevent/ssf/event-type/";
    for (uri, name, result) in [
        (format!("{RISC}account-enabled"), "account-enabled", "ignored"),
        (format!("{CAEP}assurance-level-change"), "assurance-level-change", "ignored"),
        (format!("{CAEP}no-such-event"), "other", "ignored"),
        ("https://evil.example/caep/event-type/session-revoked".to_owned(), "other", "ignored"),
        (format!("{ssf}verification"), "verification", "verified"),
        (format!("{RISC}verification"), "verification", "verified"),
        (format!("{ssf}stream-updated"), "stream-updated", "stream_stopped"),
    ] {
        let event = event(&uri);
        let got = (!event.markers.is_empty(), event.name, event.passive_result);
        assert_eq!(got, (false, name, result), "{uri}");
    }
}

#[test]
fn global_revocation_names_its_subject_in_the_body() {
    let format = EventFormat::GlobalRevocation;
    let found = |rules: &Value, subject: &Value| {
        marks(read(&policy(rules), format, &header(format), &claims(format), subject))
    };
    let plain = json!({});
    let user = json!({ "format": "iss_sub", "iss": ISS, "sub": "alice" });
    assert_eq!(found(&plain, &user), Ok(vec!["sub".to_owned()]));
    let opaque = json!({ "format": "opaque", "id": "alice" });
    assert_eq!(found(&plain, &opaque), Ok(vec!["sub".to_owned()]));
    let email = json!({ "format": "email", "email": "alice@example.org" });
    assert_eq!(found(&plain, &email), Err(Denial::SubjectRefused));
    assert_eq!(
        found(&json!({ "emails_are_subjects": true }), &email),
        Ok(vec!["email".to_owned()])
    );
    let foreign = json!({ "format": "iss_sub", "iss": "https://other.example", "sub": "alice" });
    assert_eq!(found(&plain, &foreign), Err(Denial::SubjectRefused));
    for wrong in [json!({}), json!("alice"), json!([user]), Value::Null] {
        assert_eq!(found(&plain, &wrong), Err(Denial::EventMalformed), "{wrong}");
    }
}
