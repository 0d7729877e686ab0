use super::*;
use crate::config::fixtures::policy_with;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

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

fn answered(body: &str) -> CapturedResponse {
    CapturedResponse { fields: vec![("content-type".into(), JSON.into())], body: body.into() }
}

/// What the store has under the key after `keep`.
fn kept(refresh: &Refresh, answer: &CapturedResponse, family: &str) -> String {
    let commands = refresh.keep(answer, family, [7; 12], 10, &keys()).unwrap();
    String::from_utf8(commands[0].words()[2].clone()).unwrap()
}

#[test]
fn a_refresh_is_known_by_its_form() {
    let token = |head: &RequestHead<'_>, body: &str| presented(head, body, true);
    let check = |media_type: &str, body: &str, expect: Option<&str>| {
        let found = token(&head(media_type, &[]), body).map(|(token, _)| token);
        assert_eq!(found.as_deref(), expect, "{body}");
    };
    check(FORM, "grant_type=refresh_token&refresh_token=x", Some("x"));
    check(FORM, "refresh_token=a%2Bb+c&grant%5ftype=refresh%5Ftoken", Some("a+b c"));
    check(
        "Application/X-WWW-Form-Urlencoded; charset=utf-8",
        "grant_type=refresh_token&refresh_token=x",
        Some("x"),
    );
    for other in [
        "grant_type=authorization_code&refresh_token=x",
        "refresh_token=x",
        "grant_type=refresh_token",
        "grant_type=refresh_token&refresh_token=",
        "grant_type=refresh_token&refresh_token=x&refresh_token=y",
        "grant_type=refresh_token&grant_type=refresh_token&refresh_token=x",
        "grant_type=refresh_token&refresh_token=%zz",
        "grant_type=refresh_token&refresh_token=%f",
        "grant_type=refresh_token&refresh_token=%ff",
        "",
    ] {
        check(FORM, other, None);
    }
    check(JSON, r#"{"refresh_token":"x"}"#, Some("x"));
    for other in [
        r#"{"refresh_token":1}"#,
        r#"{"refresh_token":"x","refresh_token":"x"}"#,
        "[]",
        "{",
        "{}",
        "",
    ] {
        check(JSON, other, None);
    }
    check("text/plain", r#"{"refresh_token":"x"}"#, None);
    let cookie = ("cookie", "a=b; __Host-portcullis-refresh=x; c=d");
    let by_cookie = |media_type: &str, body: &str| {
        let head = if media_type.is_empty() {
            RequestHead::new("POST", "https://a.example/auth/refresh", vec![cookie])
        } else {
            head(media_type, &[cookie])
        };
        presented(&head, body, true)
    };
    assert_eq!(by_cookie("", ""), Some(("x".into(), "cookie")));
    for none in ["{}", r#"{"refresh_token":null}"#] {
        assert_eq!(by_cookie(JSON, none), Some(("x".into(), "cookie")));
    }
    assert_eq!(by_cookie(JSON, r#"{"refresh_token":"y"}"#), Some(("y".into(), "json")));
    assert_eq!(by_cookie(FORM, ""), None);
    let get = RequestHead::new("GET", "https://a.example/oauth/token", vec![cookie]);
    assert_eq!(presented(&get, "", true), None);
}

#[test]
fn the_first_has_the_turn_and_the_others_wait_for_its_answer() {
    let own = refresh(r#"{"refresh_token":"x"}"#);
    let claim = own.claim("me", 6, &keys());
    assert_eq!(claim[0].words()[2..], [&b"Lme"[..], b"EX", b"6", b"NX"]);
    let turn = |held: Reply, family: Reply| own.lease_state("me", &[Reply::Null, held, family]);
    let text = Reply::text;
    let Some(LeaseState::First { family }) = turn(text("Lme"), Reply::Null) else { panic!() };
    assert_eq!(family, own.hash);
    let Some(LeaseState::First { family }) = turn(text("Lme"), text("f")) else { panic!() };
    assert_eq!(family, "f");
    assert!(matches!(turn(text("Lyou"), Reply::Null), Some(LeaseState::Wait)));
    assert!(matches!(turn(Reply::Null, Reply::Null), Some(LeaseState::Wait)));
    assert!(turn(Reply::Error("ERR".into()), Reply::Null).is_none());
    let full = || Reply::Error("OOM".into());
    assert!(
        own.lease_state("me", &[full(), Reply::Null, Reply::Null]).is_none(),
        "it takes no writes"
    );
    let theirs = own.lease_state("me", &[full(), text("Lyou"), Reply::Null]);
    assert!(matches!(theirs, Some(LeaseState::Wait)));
    assert_eq!(Refresh::is_held(Some(&text("Lyou"))), Some(true));
    for over in [Reply::Null, text("Ax"), text("Nx")] {
        assert_eq!(Refresh::is_held(Some(&over)), Some(false));
    }
    assert_eq!((Refresh::is_held(None), Refresh::is_held(Some(&full()))), (None, None));
    assert!(own.lease_state("me", &[]).is_none());
    let answer = answered(r#"{"access_token":"a","refresh_token":"y"}"#);
    let value = kept(&own, &answer, "f");
    assert!(value.starts_with("Af.") && !value.contains("access"), "{value}");
    assert!(!format!("{answer:?} {own:?}").contains("\"a\""));
    let Some(LeaseState::Replay { family, answer: again }) = turn(text(&value), Reply::Null) else {
        panic!()
    };
    assert_eq!((family.as_str(), again), ("f", answer));
    for broken in ["A", "Af", "Af.", "Af.AAAA", "X", &value[..value.len() - 1]] {
        assert!(matches!(turn(text(broken), Reply::Null), Some(LeaseState::Alone)), "{broken}");
    }
}

#[test]
fn a_refusal_sends_whoever_asks_the_same_on_its_way() {
    let own = refresh(r#"{"refresh_token":"x"}"#);
    let value = String::from_utf8(own.refuse([7; 12]).words()[2].clone()).unwrap();
    let turn = |refresh: &Refresh| {
        refresh.lease_state("me", &[Reply::Null, Reply::text(&value), Reply::Null])
    };
    assert!(matches!(turn(&own), Some(LeaseState::Alone)));
    let other = refresh(r#"{"refresh_token":"x","scope":"y"}"#);
    assert!(matches!(turn(&other), Some(LeaseState::Wait)));
}

#[test]
fn what_grants_nothing_or_is_too_long_is_not_kept() {
    let own = refresh(r#"{"refresh_token":"x"}"#);
    let keeps = |body: &str| own.keep(&answered(body), "f", [7; 12], 10, &keys()).is_some();
    assert!(keeps(r#"{"access_token":"a"}"#));
    for nothing in [r#"{"error":"busy"}"#, "{}", "", "<html>", r#"{"access_token":1}"#] {
        assert!(!keeps(nothing), "{nothing}");
    }
    assert!(!keeps(&json!({ "access_token": "a".repeat(48 * 1024) }).to_string()));
}

#[test]
fn only_who_asks_the_same_is_answered_the_same() {
    let body = r#"{"refresh_token":"x"}"#;
    let own = refresh(body);
    let value = kept(&own, &answered(r#"{"access_token":"a"}"#), "f");
    let opens = |other: &RequestHead<'_>, body: &str| {
        let other = Refresh::read(other, body, &keys()).unwrap();
        assert_eq!(other.key, own.key);
        let turn = other.lease_state("me", &[Reply::Null, Reply::text(&value), Reply::Null]);
        matches!(turn, Some(LeaseState::Replay { .. }))
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
fn a_family_goes_on_with_the_token_that_came_of_it() {
    let own = refresh(r#"{"refresh_token":"x"}"#);
    let next = |answer: &CapturedResponse| {
        let commands = own.keep(answer, "f", [7; 12], 10, &keys()).unwrap();
        commands.get(1).map(|command| String::from_utf8(command.words()[1].clone()).unwrap())
    };
    let expect = format!("pc:refresh:family:{}", TokenHash::of("y"));
    assert_eq!(
        next(&answered(r#"{"access_token":"a","refresh_token":"y"}"#)),
        Some(expect.clone())
    );
    let mut by_cookie = answered(r#"{"access_token":"a"}"#);
    by_cookie.fields.push(("set-cookie".into(), "other=1".into()));
    by_cookie.fields.push(("set-cookie".into(), format!("{REFRESH_COOKIE}=y; Path=/")));
    assert_eq!(next(&by_cookie), Some(expect));
    assert_eq!(next(&answered(r#"{"access_token":"a"}"#)), None);

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
    let own = format!("pc:refresh:revoked:{}", TokenHash::of("y"));
    assert_eq!(marks(Some("f")), [own.clone(), "pc:refresh:revoked:f".into()]);
    assert_eq!(marks(None), [own]);
    assert!(Revocation::read(&head(FORM, &[]), "refresh_token=y").is_none());
}

#[test]
fn what_was_revoked_is_not_given_again() {
    let policy = policy_with(&[(
        "ISSUERS",
        r#"[{"issuer":"https://issuer.example","audience":"api","algorithms":["EdDSA"],
             "jwks_url":"https://issuer.example/jwks"},
            {"issuer":"https://issuer.example","audience":"api","introspection":{
             "url":"https://issuer.example/i","client_id":"c","client_secret_variable":"STORE_TOKEN",
             "revocations_in_store":true,"token_prefix":"pca_"},"sessions_in_store":true},
            {"issuer":"https://other.example","audience":"api","introspection":{
             "url":"https://issuer.example/i","client_id":"c","client_secret_variable":"STORE_TOKEN",
             "revocations_in_store":true,"token_prefix":"other_"}}]"#,
    )]);
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let claims = r#"{"iss":"https://issuer.example","aud":"api","sub":"u","sid":"s","exp":1800000900,"iat":1800000000}"#;
    let jwt =
        format!("{}.{}.AAAA", part(r#"{"alg":"EdDSA","kid":"k","typ":"at+jwt"}"#), part(claims));
    let of = |token: &str| answered(&json!({ "access_token": token }).to_string());
    let stands =
        |answer: &CapturedResponse, replies: &[Reply]| answer.is_still_valid(&policy, NOW, replies);
    let nothing = || Reply::Array(vec![Reply::Null, Reply::Null]);

    let own = refresh(r#"{"refresh_token":"x"}"#);
    let revocation_queries =
        |answer: &CapturedResponse| answer.revocation_queries(&own, "f", &policy, NOW);
    let family = nothing;
    let signed = of(&jwt);
    let asked = revocation_queries(&signed);
    assert_eq!((asked[0].name(), asked[1].name(), asked[1].words().len()), ("MGET", "MGET", 3));
    let revoked = |hash: &str| format!("pc:refresh:revoked:{hash}").into_bytes();
    assert_eq!(asked[0].words()[1..], [revoked("f"), revoked(&own.hash)]);
    assert_eq!(stands(&signed, &[family(), nothing()]), Some(true));
    let marked = || Reply::Array(vec![Reply::Null, Reply::text("1")]);
    assert_eq!(stands(&signed, &[family(), marked()]), Some(false));
    assert_eq!(stands(&signed, &[marked(), nothing()]), Some(false));
    for inconclusive in [
        vec![],
        vec![family()],
        vec![family(), Reply::Error("x".into())],
        vec![Reply::Error("x".into()), nothing()],
    ] {
        assert_eq!(stands(&signed, &inconclusive), None, "{inconclusive:?}");
    }

    let recorded = of("pca_x");
    assert_eq!(revocation_queries(&recorded)[1].name(), "GET");
    assert_eq!(stands(&recorded, &[family(), Reply::text("record")]), Some(true));
    assert_eq!(stands(&recorded, &[family(), Reply::Null]), Some(false));
    assert_eq!(stands(&recorded, &[family(), Reply::Error("x".into())]), None);

    // Of another's token the store knows nothing yet, but of its family.
    for other in [of("abc"), of("other_x"), answered("{}"), answered("no JSON")] {
        assert_eq!(revocation_queries(&other).len(), 1);
        assert_eq!(stands(&other, &[family()]), Some(true));
        assert_eq!(stands(&other, &[marked()]), Some(false));
    }
}

#[test]
fn what_a_host_captured_is_read() {
    let answer = CapturedResponse::parse("a\nb\nset-cookie\nx=y; z\n\n{\n\n}").unwrap();
    assert_eq!(answer.fields, [("a".into(), "b".into()), ("set-cookie".into(), "x=y; z".into())]);
    assert_eq!(answer.body, "{\n\n}");
    assert_eq!(
        CapturedResponse::parse("\nbody").unwrap(),
        CapturedResponse { fields: vec![], body: "body".into() }
    );
    let body = "{\"a\": 1,\n \"b\":\n\n 2 }";
    assert_eq!(CapturedResponse::parse(&format!("\n{body}")).unwrap().body, body);
    assert_eq!(CapturedResponse::parse("a\nb"), None);
}
