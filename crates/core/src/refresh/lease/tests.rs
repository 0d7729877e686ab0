use super::*;
use crate::refresh::revocation::Revocation;
use crate::request::cookie::REFRESH_COOKIE;
use serde_json::json;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

fn head<'a>(media_type: &'a str, more: &[(&'a str, &'a str)]) -> RequestHead<'a> {
    let mut fields = vec![("content-type", media_type)];
    fields.extend_from_slice(more);
    RequestHead::new("POST", "https://a.example/oauth/token", fields)
}

fn keys() -> StoreKeys {
    StoreKeys::new("pc")
}

fn refresh(body: &str) -> Refresh {
    Refresh::read(&head(JSON, &[]), body, &keys()).unwrap()
}

fn response(body: &str) -> CapturedResponse {
    CapturedResponse { fields: vec![("content-type".into(), JSON.into())], body: body.into() }
}

/// Returns the stored form of the response.
fn stored(refresh: &Refresh, answer: &CapturedResponse, family: &str) -> String {
    let commands = refresh.store_response(answer, family, [7; 12], 10, &keys()).unwrap();
    String::from_utf8(commands[0].words()[2].clone()).unwrap()
}

#[test]
fn lease_goes_to_the_first_request_and_the_others_wait() {
    let own = refresh(r#"{"refresh_token":"x"}"#);
    let commands = own.acquire("me", 6, &keys());
    assert_eq!(commands[0].words()[2..], [&b"Lme"[..], b"EX", b"6", b"NX"]);
    let state = |value: Reply, family: Reply| own.lease_state("me", &[Reply::Null, value, family]);
    let text = Reply::text;
    let Some(LeaseState::First { family }) = state(text("Lme"), Reply::Null) else { panic!() };
    assert_eq!(family, own.hash);
    let Some(LeaseState::First { family }) = state(text("Lme"), text("f")) else { panic!() };
    assert_eq!(family, "f");
    assert!(matches!(state(text("Lyou"), Reply::Null), Some(LeaseState::Wait)));
    assert!(matches!(state(Reply::Null, Reply::Null), Some(LeaseState::Wait)));
    assert!(state(Reply::Error("ERR".into()), Reply::Null).is_none());
    let full = || Reply::Error("OOM".into());
    assert!(
        own.lease_state("me", &[full(), Reply::Null, Reply::Null]).is_none(),
        "the store accepts no writes"
    );
    let theirs = own.lease_state("me", &[full(), text("Lyou"), Reply::Null]);
    assert!(matches!(theirs, Some(LeaseState::Wait)));
    assert_eq!(Refresh::is_held(Some(&text("Lyou"))), Some(true));
    for other in [Reply::Null, text("Ax"), text("Nx")] {
        assert_eq!(Refresh::is_held(Some(&other)), Some(false));
    }
    assert_eq!((Refresh::is_held(None), Refresh::is_held(Some(&full()))), (None, None));
    assert!(own.lease_state("me", &[]).is_none());
    let answer = response(r#"{"access_token":"a","refresh_token":"y"}"#);
    let value = stored(&own, &answer, "f");
    assert!(value.starts_with("Af.") && !value.contains("access"), "{value}");
    assert!(!format!("{answer:?} {own:?}").contains("\"a\""));
    let Some(LeaseState::Replay { family, answer: again }) = state(text(&value), Reply::Null)
    else {
        panic!()
    };
    assert_eq!((family.as_str(), again), ("f", answer));
    for broken in ["A", "Af", "Af.", "Af.AAAA", "X", &value[..value.len() - 1]] {
        assert!(matches!(state(text(broken), Reply::Null), Some(LeaseState::Alone)), "{broken}");
    }
}

#[test]
fn identical_request_needs_no_lease_after_a_refusal() {
    let own = refresh(r#"{"refresh_token":"x"}"#);
    let value = String::from_utf8(own.store_refusal([7; 12]).words()[2].clone()).unwrap();
    let state = |refresh: &Refresh| {
        refresh.lease_state("me", &[Reply::Null, Reply::text(&value), Reply::Null])
    };
    assert!(matches!(state(&own), Some(LeaseState::Alone)));
    let other = refresh(r#"{"refresh_token":"x","scope":"y"}"#);
    assert!(matches!(state(&other), Some(LeaseState::Wait)));
}

#[test]
fn response_is_not_stored_without_a_grant_or_when_too_long() {
    let own = refresh(r#"{"refresh_token":"x"}"#);
    let is_stored =
        |body: &str| own.store_response(&response(body), "f", [7; 12], 10, &keys()).is_some();
    assert!(is_stored(r#"{"access_token":"a"}"#));
    for nothing in [r#"{"error":"busy"}"#, "{}", "", "<html>", r#"{"access_token":1}"#] {
        assert!(!is_stored(nothing), "{nothing}");
    }
    assert!(!is_stored(&json!({ "access_token": "a".repeat(48 * 1024) }).to_string()));
}

#[test]
fn response_is_replayed_to_identical_requests_only() {
    let body = r#"{"refresh_token":"x"}"#;
    let own = refresh(body);
    let value = stored(&own, &response(r#"{"access_token":"a"}"#), "f");
    let opens = |other: &RequestHead<'_>, body: &str| {
        let other = Refresh::read(other, body, &keys()).unwrap();
        assert_eq!(other.key, own.key);
        let state = other.lease_state("me", &[Reply::Null, Reply::text(&value), Reply::Null]);
        matches!(state, Some(LeaseState::Replay { .. }))
    };
    assert!(opens(&head(JSON, &[("user-agent", "x"), ("accept", "y")]), body));
    for field in ["authorization", "cookie", "origin", "dpop", "oauth-client-attestation-pop"] {
        assert!(!opens(&head(JSON, &[(field, "https://evil.example")]), body), "{field}");
    }
    assert!(!opens(&head("application/json; x=y", &[]), body));
    assert!(!opens(&head(JSON, &[]), r#"{"refresh_token":"x","scope":"admin"}"#));
    assert!(!opens(&head(JSON, &[("cookie", "__Host-portcullis-refresh=x")]), "{}"));
    assert!(!opens(&head(FORM, &[]), "grant_type=refresh_token&refresh_token=x"));
}

#[test]
fn family_includes_the_new_refresh_token() {
    let own = refresh(r#"{"refresh_token":"x"}"#);
    let next = |answer: &CapturedResponse| {
        let commands = own.store_response(answer, "f", [7; 12], 10, &keys()).unwrap();
        commands.get(1).map(|command| String::from_utf8(command.words()[1].clone()).unwrap())
    };
    let expect = format!("pc:refresh:family:{}", TokenHash::of("y"));
    assert_eq!(
        next(&response(r#"{"access_token":"a","refresh_token":"y"}"#)),
        Some(expect.clone())
    );
    let mut by_cookie = response(r#"{"access_token":"a"}"#);
    by_cookie.fields.push(("set-cookie".into(), "other=1".into()));
    by_cookie.fields.push(("set-cookie".into(), format!("{REFRESH_COOKIE}=y; Path=/")));
    assert_eq!(next(&by_cookie), Some(expect));
    assert_eq!(next(&response(r#"{"access_token":"a"}"#)), None);

    let revoked = Revocation::read(&head(FORM, &[]), "token=y&token_type_hint=x").unwrap();
    assert_eq!(
        revoked.family_query(&keys()).words()[1],
        format!("pc:refresh:family:{}", TokenHash::of("y")).into_bytes()
    );
    let marks = |family: Option<&str>| {
        let commands = revoked.mark(family, 30, &keys());
        let key = |command: &Command| String::from_utf8(command.words()[1].clone()).unwrap();
        commands.iter().map(key).collect::<Vec<_>>()
    };
    let own = format!("pc:refresh_revoked:{}", TokenHash::of("y"));
    assert_eq!(marks(Some("f")), [own.clone(), "pc:refresh_revoked:f".into()]);
    assert_eq!(marks(None), [own]);
    assert!(Revocation::read(&head(FORM, &[]), "refresh_token=y").is_none());
}
