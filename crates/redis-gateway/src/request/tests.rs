use super::*;

#[test]
fn path_body_and_query_become_one_command() {
    fn check(path: &str, query: Option<&str>, body: &[u8], expect: Option<&[&[u8]]>) {
        let got = command(path, query, body).ok();
        let got = got.map(|command| command.words().to_vec());
        assert_eq!(
            got,
            expect.map(|arguments| arguments.iter().map(|argument| argument.to_vec()).collect()),
            "{path}"
        );
    }
    check("/SET/key/value", None, b"", Some(&[b"SET", b"key", b"value"]));
    check("/get/a%2Fb%20c", None, b"", Some(&[b"get", b"a/b c"]));
    check("/get/a+b", None, b"", Some(&[b"get", b"a+b"]));
    check("/get/%ff", None, b"", Some(&[b"get", b"\xff"]));
    check("/get/100%", None, b"", Some(&[b"get", b"100%"]));
    check("/set/k//EX/1", None, b"", Some(&[b"set", b"k", b"", b"EX", b"1"]));
    check(
        "/set/k",
        Some("EX=100&NX"),
        b"\xff",
        Some(&[b"set", b"k", b"\xff", b"EX", b"100", b"NX"]),
    );
    check("/set/k/v", Some("NX=&_token=x"), b"", Some(&[b"set", b"k", b"v", b"NX"]));
    check("/echo", Some("a+b=c%26"), b"", Some(&[b"echo", b"a b", b"c&"]));
    check("/", None, br#"["PING"]"#, Some(&[b"PING"]));
    check("/", None, b"", None);
    check("//get", None, b"", None);
    check("/%ff", None, b"", None);
}

#[test]
fn endpoint_follows_from_the_path() {
    for (path, expect) in [
        ("/", Endpoint::Command),
        ("/get/pipeline", Endpoint::Command),
        ("/pipeline", Endpoint::Pipeline),
        ("/multi-exec", Endpoint::Transaction),
        ("/SUBSCRIBE/a", Endpoint::Subscribe),
        ("/psubscribe/a*", Endpoint::PatternSubscribe),
        ("/monitor", Endpoint::Monitor),
        ("/healthz/x", Endpoint::Command),
        ("//subscribe/x", Endpoint::Command),
    ] {
        assert_eq!(Endpoint::of(path), expect, "{path}");
        assert_eq!(Probe::of(path), None);
    }
    assert_eq!(Probe::of("/healthz"), Some(Probe::Health));
    assert_eq!(Probe::of("//healthz"), None);
}

#[test]
fn format_follows_from_the_headers() {
    use Encoding::{Base64, Text};
    for (format, encoding, expect) in [
        (None, None, Ok(Format::Json(Text))),
        (None, Some("BASE64"), Ok(Format::Json(Base64))),
        (Some("json"), Some("other"), Ok(Format::Json(Text))),
        (Some("resp2"), None, Ok(Format::Resp2)),
        (Some("resp2"), Some("base64"), Err(FormatError::Base64InResp2)),
        (Some("resp3"), None, Err(FormatError::Unknown)),
    ] {
        let got = Format::of(format.map(str::as_bytes), encoding.map(str::as_bytes));
        assert_eq!(got, expect, "{format:?} {encoding:?}");
    }
}

#[test]
fn token_and_channels_are_found() {
    assert_eq!(query_token(Some("EX=1&_token=a%2Bb")), Some(b"a+b".to_vec()));
    assert_eq!(query_token(Some("token=a")), None);
    assert_eq!(channels("/subscribe/a/b%2Fc/"), [b"a".to_vec(), b"b/c".to_vec()]);
    assert!(channels("/subscribe").is_empty());
}

proptest::proptest! {
    #[test]
    fn parsers_never_panic(path in ".{0,60}", query in ".{0,60}", body in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
        let _ = (command(&path, Some(&query), &body), channels(&path), query_token(Some(&query)));
    }

    #[test]
    fn percent_encoded_arguments_arrive_unchanged(arguments in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..9), 1..5)) {
        let path = arguments.iter().fold("/set".to_owned(), |path, argument| {
            format!("{path}/{}", percent_encoding::percent_encode(argument, percent_encoding::NON_ALPHANUMERIC))
        });
        let got = command(&path, None, b"").unwrap();
        proptest::prop_assert_eq!(&got.words()[1..], arguments.as_slice());
    }
}
