use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn replies_are_encoded_as_json() {
    fn check(reply: Reply, text: &str, base64: &str) {
        for (encoding, expect) in [(Encoding::Text, text), (Encoding::Base64, base64)] {
            let mut out = Vec::new();
            encode_reply(&reply, encoding, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expect);
        }
    }
    check(Reply::Status("OK".into()), r#"{"result":"OK"}"#, r#"{"result":"OK"}"#);
    check(Reply::Status("PONG".into()), r#"{"result":"PONG"}"#, r#"{"result":"UE9ORw=="}"#);
    check(Reply::text("bar"), r#"{"result":"bar"}"#, r#"{"result":"YmFy"}"#);
    check(Reply::Null, r#"{"result":null}"#, r#"{"result":null}"#);
    check(
        Reply::Integer(9_007_199_254_740_993),
        r#"{"result":9007199254740993}"#,
        r#"{"result":9007199254740993}"#,
    );
    check(
        Reply::Error("NOSCRIPT No matching script".into()),
        r#"{"error":"NOSCRIPT No matching script"}"#,
        r#"{"error":"NOSCRIPT No matching script"}"#,
    );
    check(
        Reply::Array(vec![Reply::Status("OK".into()), Reply::Integer(1), Reply::Null]),
        r#"{"result":["OK",1,null]}"#,
        r#"{"result":["T0s=",1,null]}"#,
    );
    check(Reply::Bulk(vec![0xff]), "{\"result\":\"\u{fffd}\"}", r#"{"result":"/w=="}"#);
}

#[test]
fn replies_are_decoded_from_json() {
    fn check(body: &str, count: usize, expect: Result<&[Reply], ReplyError>) {
        assert_eq!(decode_replies(body, count), expect.map(<[Reply]>::to_vec), "{body}");
    }
    check("[]", 0, Ok(&[]));
    check(r#"[{"result":null}]"#, 1, Ok(&[Reply::Null]));
    check(
        r#"[{"result":[1,0,"a"]},{"error":"NOSCRIPT x"}]"#,
        2,
        Ok(&[
            Reply::Array(vec![Reply::Integer(1), Reply::Integer(0), Reply::text("a")]),
            Reply::Error("NOSCRIPT x".into()),
        ]),
    );
    check(r#"[{"result":1}]"#, 2, Err(ReplyError::Count));
    check(r#"[{"result":1},{"result":1}]"#, 1, Err(ReplyError::Count));
    check("[{}]", 1, Err(ReplyError::Malformed));
    check(r#"[{"result":1,"error":"x"}]"#, 1, Err(ReplyError::Malformed));
    check(r#"[{"result":{"a":1}}]"#, 1, Err(ReplyError::Malformed));
    check(r#"{"error":"WRONGPASS"}"#, 1, Err(ReplyError::Malformed));
    check("<html>", 1, Err(ReplyError::Malformed));
    check(r#"[{"result":1}"#, 1, Err(ReplyError::Malformed));
    check(r#"[{"result":1,"result":1}]"#, 1, Err(ReplyError::Malformed));
    check(r#"[{"result":true}]"#, 1, Err(ReplyError::Malformed));
    check(r#"[{"error":1.5}]"#, 1, Err(ReplyError::Malformed));
    check(r#"[{"error":null}]"#, 1, Err(ReplyError::Malformed));
    check(r#"[{"error":null,"result":null}]"#, 1, Ok(&[Reply::Null]));
    let more = r#"[{"result":1,"x":{"result":{"y":true}},"z":[false]}]"#;
    check(more, 1, Ok(&[Reply::Integer(1)]));
    check(r#"[{"result":18446744073709551615}]"#, 1, Ok(&[Reply::text("18446744073709551615")]));
    check(r#"[{"result":1.5}]"#, 1, Ok(&[Reply::text("1.5")]));
    let deep = |depth| format!(r#"[{{"result":{}{}}}]"#, "[".repeat(depth), "]".repeat(depth));
    check(&deep(100_000), 1, Err(ReplyError::Malformed));
}

#[test]
fn noscript_is_distinguished_from_other_errors() {
    assert!(Reply::Error("NOSCRIPT No matching script.".into()).is_noscript());
    assert!(!Reply::Error("ERR NOSCRIPT".into()).is_noscript());
    assert!(!Reply::text("NOSCRIPT").is_noscript());
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use proptest::prelude::*;

    fn any_reply() -> impl Strategy<Value = Reply> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Reply::Integer),
            ".*".prop_map(|text: String| Reply::text(&text)),
            Just(Reply::Null),
        ];
        leaf.prop_recursive(4, 16, 4, |inner| {
            prop::collection::vec(inner, 0..4).prop_map(Reply::Array)
        })
    }

    proptest! {
        #[test]
        fn encoded_replies_decode_to_themselves(replies in prop::collection::vec(any_reply(), 0..5)) {
            let mut body = Vec::new();
            encode_replies(&replies, Encoding::Text, &mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            prop_assert_eq!(decode_replies(&body, replies.len()), Ok(replies));
        }

        #[test]
        fn decoding_never_panics(body in ".{0,200}", count in 0..4_usize) {
            let _ = decode_replies(&body, count);
        }
    }
}
