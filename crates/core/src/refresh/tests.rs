use super::*;
use crate::policy::tests::policy_with;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

fn head<'a>(media_type: &'a str, more: &[(&'a str, &'a str)]) -> Head<'a> {
    let mut fields = vec![("content-type", media_type)];
    fields.extend_from_slice(more);
    Head::new("POST", "https://a.example/oauth/token", fields)
}

fn keys() -> Keys {
    Keys::new("pc")
}

fn refresh(body: &str) -> Refresh {
    Refresh::read(&head(JSON, &[]), body, &keys()).unwrap()
}

fn answered(body: &str) -> Answered {
    Answered { fields: vec![("content-type".into(), JSON.into())], body: body.into() }
}

/// What the store has under the key after `keep`.
fn kept(refresh: &Refresh, answer: &Answered, family: &str) -> String {
    let commands = refresh.keep(answer, family, [7; 12], 10, &keys()).unwrap();
    String::from_utf8(commands[0].words()[2].clone()).unwrap()
}

#[test]
fn a_refresh_is_known_by_its_form() {
    let token = |head: &Head<'_>, body: &str| presented(head, body, true);
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
            Head::new("POST", "https://a.example/auth/refresh", vec![cookie])
        } else {
            head(media_type, &[cookie])
        };
        presented(&head, body, true)
    };
    assert_eq!(by_cookie("", ""), Some(("x".into(), "cookie")));
    assert_eq!(by_cookie(JSON, "{}"), Some(("x".into(), "cookie")));
    assert_eq!(by_cookie(JSON, r#"{"refresh_token":"y"}"#), Some(("y".into(), "json")));
    assert_eq!(by_cookie(FORM, ""), None);
    let get = Head::new("GET", "https://a.example/oauth/token", vec![cookie]);
    assert_eq!(presented(&get, "", true), None);
}

#[test]
fn the_first_has_the_turn_and_the_others_wait_for_its_answer() {
    let own = refresh(r#"{"refresh_token":"x"}"#);
    let claim = own.claim("me", 6, &keys());
    assert_eq!(claim[0].words()[2..], [&b"Lme"[..], b"EX", b"6", b"NX"]);
    let turn = |held: Reply, family: Reply| own.turn("me", &[Reply::Null, held, family]);
    let text = Reply::text;
    let Some(Turn::First { family }) = turn(text("Lme"), Reply::Null) else { panic!() };
    assert_eq!(family, own.hash);
    let Some(Turn::First { family }) = turn(text("Lme"), text("f")) else { panic!() };
    assert_eq!(family, "f");
    assert!(matches!(turn(text("Lyou"), Reply::Null), Some(Turn::Wait)));
    assert!(matches!(turn(Reply::Null, Reply::Null), Some(Turn::Wait)));
    assert!(turn(Reply::Error("ERR".into()), Reply::Null).is_none());
    assert!(own.turn("me", &[]).is_none());
    let answer = answered(r#"{"access_token":"a","refresh_token":"y"}"#);
    let value = kept(&own, &answer, "f");
    assert!(value.starts_with("Af.") && !value.contains("access"), "{value}");
    let Some(Turn::Replay { family, answer: again }) = turn(text(&value), Reply::Null) else {
        panic!()
    };
    assert_eq!((family.as_str(), again), ("f", answer));
    for broken in ["A", "Af", "Af.", "Af.AAAA", "X", &value[..value.len() - 1]] {
        assert!(matches!(turn(text(broken), Reply::Null), Some(Turn::Alone)), "{broken}");
    }
}

#[test]
fn only_who_asks_the_same_is_answered_the_same() {
    let body = r#"{"refresh_token":"x"}"#;
    let own = refresh(body);
    let value = kept(&own, &answered("{}"), "f");
    let opens = |other: &Head<'_>, body: &str| {
        let other = Refresh::read(other, body, &keys()).unwrap();
        assert_eq!(other.key, own.key);
        let turn = other.turn("me", &[Reply::Null, Reply::text(&value), Reply::Null]);
        matches!(turn, Some(Turn::Replay { .. }))
    };
    assert!(opens(&head(JSON, &[("user-agent", "x"), ("accept", "y")]), body));
    for field in ["authorization", "origin", "dpop"] {
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
    let next = |answer: &Answered| {
        let commands = own.keep(answer, "f", [7; 12], 10, &keys()).unwrap();
        commands.get(1).map(|command| String::from_utf8(command.words()[1].clone()).unwrap())
    };
    let expect = format!("pc:refresh:family:{}", TokenHash::of("y"));
    assert_eq!(next(&answered(r#"{"refresh_token":"y"}"#)), Some(expect.clone()));
    let mut by_cookie = answered("{}");
    by_cookie.fields.push(("set-cookie".into(), "other=1".into()));
    by_cookie.fields.push(("set-cookie".into(), format!("{REFRESH_COOKIE}=y; Path=/")));
    assert_eq!(next(&by_cookie), Some(expect));
    assert_eq!(next(&answered("{}")), None);
    assert_eq!(next(&answered("no JSON")), None);

    let revoked = Revocation::read(&head(FORM, &[]), "token=y&token_type_hint=x").unwrap();
    assert_eq!(
        revoked.question(&keys()).words()[1],
        format!("pc:refresh:family:{}", TokenHash::of("y")).into_bytes()
    );
    let mark = |reply: Option<&Reply>| {
        String::from_utf8(revoked.mark(reply, 30, &keys()).words()[1].clone()).unwrap()
    };
    assert_eq!(mark(Some(&Reply::text("f"))), "pc:refresh:revoked:f");
    assert_eq!(mark(Some(&Reply::Null)), format!("pc:refresh:revoked:{}", TokenHash::of("y")));
    assert_eq!(mark(None), format!("pc:refresh:revoked:{}", TokenHash::of("y")));
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
             "revocations_in_store":true,"token_prefix":"pca_"}}]"#,
    )]);
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let claims = r#"{"iss":"https://issuer.example","aud":"api","sub":"u","sid":"s","exp":1800000900,"iat":1800000000}"#;
    let jwt =
        format!("{}.{}.AAAA", part(r#"{"alg":"EdDSA","kid":"k","typ":"at+jwt"}"#), part(claims));
    let of = |token: &str| answered(&json!({ "access_token": token }).to_string());
    let stands = |answer: &Answered, replies: &[Reply]| answer.stands(&policy, NOW, replies);
    let nothing = || Reply::Array(vec![Reply::Null, Reply::Null]);

    let signed = of(&jwt);
    let doubts = signed.doubts("f", &policy, NOW);
    assert_eq!((doubts[0].name(), doubts[1].name(), doubts[1].words().len()), ("GET", "MGET", 3));
    assert!(stands(&signed, &[Reply::Null, nothing()]));
    let marked = Reply::Array(vec![Reply::Null, Reply::text("1")]);
    assert!(!stands(&signed, &[Reply::Null, marked]));
    assert!(!stands(&signed, &[Reply::text("1"), nothing()]));
    assert!(!stands(&signed, &[Reply::Null]));
    assert!(!stands(&signed, &[Reply::Null, Reply::Error("x".into())]));

    let recorded = of("pca_x");
    assert_eq!(recorded.doubts("f", &policy, NOW)[1].name(), "GET");
    assert!(stands(&recorded, &[Reply::Null, Reply::text("record")]));
    assert!(!stands(&recorded, &[Reply::Null, Reply::Null]));

    // Of another's token the store knows nothing, but of its family.
    for other in [of("abc"), answered("{}"), answered("no JSON")] {
        assert_eq!(other.doubts("f", &policy, NOW).len(), 1);
        assert!(stands(&other, &[Reply::Null]));
        assert!(!stands(&other, &[Reply::text("1")]));
        assert!(!stands(&other, &[]));
    }
}

#[test]
fn what_a_host_captured_is_read() {
    let answer = Answered::parse("a\nb\nset-cookie\nx=y; z\n\n{\n\n}").unwrap();
    assert_eq!(answer.fields, [("a".into(), "b".into()), ("set-cookie".into(), "x=y; z".into())]);
    assert_eq!(answer.body, "{\n\n}");
    assert_eq!(
        Answered::parse("\nbody").unwrap(),
        Answered { fields: vec![], body: "body".into() }
    );
    assert_eq!(Answered::parse("a\nb"), None);
}
