use super::marks::REVOKE_SCRIPT;
use super::parse::Event;
use super::request::EventRequest;
use crate::config::fixtures::policy_with;
use crate::policy::Policy;
use crate::policy::events::EventFormat;
use crate::policy::fixtures::route;
use crate::refusal::{Denial, Outage, Refusal};
use crate::request::head::RequestHead;
use crate::store::keys::StoreKeys;
use crate::time::UnixSeconds;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const NOW: u64 = 1_700_000_000;
const ISS: &str = "https://issuer.example";
const EVENTS_ISS: &str = "https://events.example/";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";

/// Returns a policy with three issuers: one whose rules have these changes, one with the defaults,
/// and one that pushes no events.
fn policy(changes: &Value) -> Policy {
    let mut events = json!({
        "audience": ["edge", "https://api.example/events"],
        "accept": ["logout", "security_events", "global_revocation"],
    });
    let other = json!({ "audience": "edge", "accept": ["logout"] });
    events.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let issuer = |name: &str| {
        json!({ "issuer": name, "audience": "api", "algorithms": ["EdDSA"],
            "jwks_url": "https://issuer.example/jwks" })
    };
    let (mut first, mut second) = (issuer(ISS), issuer("https://other.example"));
    first["events"] = events;
    second["events"] = other;
    let issuers = json!([first, second, issuer("https://silent.example")]).to_string();
    let routes = json!([{ "name": "events", "path": "/events", "access": "events" },
        { "name": "api", "path": "/*", "access": "protected" }]);
    policy_with(&[("issuers", issuers.as_str()), ("routes", &routes.to_string())])
}

fn merged(mut base: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => base.as_object_mut().unwrap().remove(name),
            value => base.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    base
}

fn compact(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{}", part(header), part(claims), URL_SAFE_NO_PAD.encode([7; 64]))
}

/// A valid event of each format, which tests change.
fn header(format: EventFormat) -> Value {
    let typ = match format {
        EventFormat::Logout => "logout+jwt",
        EventFormat::SecurityEvent => "secevent+jwt",
        EventFormat::GlobalRevocation => "global-token-revocation+jwt",
    };
    json!({ "alg": "EdDSA", "kid": "1", "typ": typ })
}

fn claims(format: EventFormat) -> Value {
    let base = json!({ "iss": ISS, "aud": "edge", "iat": NOW - 5, "jti": "e1" });
    let more = match format {
        EventFormat::Logout => json!({ "sub": "alice", "sid": "s1",
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} } }),
        EventFormat::SecurityEvent => json!({
            "sub_id": { "format": "iss_sub", "iss": ISS, "sub": "alice" },
            "events": { format!("{RISC}account-disabled"): {} } }),
        EventFormat::GlobalRevocation => json!({ "sub": "caller", "exp": NOW + 60 }),
    };
    merged(base, &more)
}

/// Parses a request of this format with these parts.
fn read(
    policy: &Policy,
    format: EventFormat,
    header: &Value,
    claims: &Value,
    subject: &Value,
) -> Result<Event, Denial> {
    read_at(policy, format, &compact(header, claims), subject, NOW)
}

fn read_at(
    policy: &Policy,
    format: EventFormat,
    token: &str,
    subject: &Value,
    now: u64,
) -> Result<Event, Denial> {
    let authorization = format!("Bearer {token}");
    let (media_type, body) = match format {
        EventFormat::Logout => {
            ("application/x-www-form-urlencoded; charset=utf-8", format!("logout_token={token}"))
        }
        EventFormat::SecurityEvent => ("application/secevent+jwt", format!("{token}\r\n")),
        EventFormat::GlobalRevocation => {
            ("Application/JSON", json!({ "sub_id": subject }).to_string())
        }
    };
    let fields = vec![("content-type", media_type), ("authorization", authorization.as_str())];
    let head = RequestHead::new("POST", "https://api.example/events", fields);
    assert_eq!(EventFormat::of(&head), Some(format));
    let request = EventRequest::read(format, &head, &route(), &body)?;
    let event = request.parse(policy, UnixSeconds(now))?;
    assert!(request.parse(policy, UnixSeconds(now))?.accept(false).is_err());
    event.accept(true)
}

/// Returns the markers of an event, or why it is refused.
fn marks(event: Result<Event, Denial>) -> Result<Vec<String>, Denial> {
    let event = event?;
    let keys = StoreKeys::new("pc");
    let known = [
        ("sub", keys.revoked_sub(ISS, "alice")),
        ("email", keys.revoked_sub(ISS, "alice@example.org")),
        ("sub s1", keys.revoked_sub(ISS, "s1")),
        ("sid", keys.revoked_sid(ISS, "s1")),
        ("jti", keys.revoked_jti(ISS, "t1")),
    ];
    let name = |key: &String| {
        let found = known.iter().find(|(_, known)| known == key);
        found.map_or(key.clone(), |(name, _)| (*name).to_owned())
    };
    Ok(event.markers.iter().map(name).collect())
}

const FORMATS: [EventFormat; 3] =
    [EventFormat::Logout, EventFormat::SecurityEvent, EventFormat::GlobalRevocation];

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
    use sha1::Digest as _;
    let hash: String =
        sha1::Sha1::digest(REVOKE_SCRIPT).iter().map(|byte| format!("{byte:02x}")).collect();
    let tokens = include_str!("../../../../docs/redis-gateway-tokens.toml");
    assert!(tokens.contains(&hash), "{hash}");
}
