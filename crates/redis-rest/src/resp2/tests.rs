use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Decodes all replies, with one byte at a time.
fn decoded(bytes: &[u8], bytes_max: usize) -> Result<Vec<Reply>, ProtocolError> {
    let mut decoder = Decoder::default();
    let mut replies = Vec::new();
    for byte in bytes {
        decoder.push(&[*byte]);
        while let Some(reply) = decoder.next(bytes_max)? {
            replies.push(reply);
        }
    }
    Ok(replies)
}

#[test]
fn replies_are_encoded_as_resp2() {
    fn check(reply: Reply, expect: &[u8]) {
        let mut out = Vec::new();
        encode_resp2(&reply, &mut out);
        assert_eq!(out, expect, "{reply:?}");
    }
    check(Reply::Status("OK".into()), b"+OK\r\n");
    check(Reply::Bulk(vec![0xff, b'\r', b'\n']), b"$3\r\n\xff\r\n\r\n");
    check(Reply::Bulk(vec![]), b"$0\r\n\r\n");
    check(Reply::Null, b"$-1\r\n");
    check(Reply::Integer(-7), b":-7\r\n");
    check(Reply::Error("ERR a\r\n+b".into()), b"-ERR a  +b\r\n");
    let nested = Reply::Array(vec![Reply::Array(vec![]), Reply::Null]);
    check(nested, b"*2\r\n*0\r\n$-1\r\n");
    let mut out = Vec::new();
    encode_resp2_command(&Command::new("SET").arg("k").arg_bytes(vec![0xff]), &mut out);
    assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n\xff\r\n");
}

#[test]
fn replies_are_decoded_byte_by_byte() {
    fn check(bytes: &[u8], expect: Result<&[Reply], ProtocolError>) {
        let shown = String::from_utf8_lossy(bytes);
        assert_eq!(decoded(bytes, 1000), expect.map(<[Reply]>::to_vec), "{shown}");
    }
    let ok = || Reply::Status("OK".into());
    check(b"+OK\r\n$2\r\nab\r\n:5\r\n", Ok(&[ok(), Reply::text("ab"), Reply::Integer(5)]));
    check(
        b"$-1\r\n*-1\r\n*0\r\n$0\r\n\r\n",
        Ok(&[Reply::Null, Reply::Null, Reply::Array(vec![]), Reply::text("")]),
    );
    check(
        b"*2\r\n*1\r\n:1\r\n$1\r\nx\r\n+OK\r\n",
        Ok(&[Reply::Array(vec![Reply::Array(vec![Reply::Integer(1)]), Reply::text("x")]), ok()]),
    );
    check(b"-ERR \xff\r\n+OK\r\n", Ok(&[Reply::Error("ERR \u{fffd}".into()), ok()]));
    check(b"$2\r\n\xff\n\r\n", Ok(&[Reply::Bulk(vec![0xff, b'\n'])]));
    check(b"*2\r\n:1\r\n", Ok(&[]));
    for garbage in
        [b"x\r\n".as_slice(), b"\r\n", b"$x\r\n", b"$2\r\nabc\r\n", b"+OK\n", b":\r\n", b"_\r\n"]
    {
        check(garbage, Err(ProtocolError));
    }
}

#[test]
fn oversized_reply_is_truncated_and_the_next_one_is_found() {
    let ok = || Reply::Status("OK".into());
    let large = [b"$5000\r\n".as_slice(), &[b'x'; 5000], b"\r\n+OK\r\n"].concat();
    assert_eq!(decoded(&large, 5031), Ok(vec![Reply::Error(TOO_LARGE.into()), ok()]));
    assert_eq!(decoded(&large, 5032).unwrap()[1], ok());
    let many = [
        b"*3\r\n".as_slice(),
        &b"$40\r\n0123456789012345678901234567890123456789\r\n".repeat(3),
        b"+OK\r\n",
    ]
    .concat();
    assert_eq!(decoded(&many, 215), Ok(vec![Reply::Error(TOO_LARGE.into()), ok()]));
    assert_eq!(decoded(&many, 216).unwrap()[1], ok());
    let long = [b"+".as_slice(), &[b'y'; 3 << 20], b"\r\n+OK\r\n"].concat();
    let mut decoder = Decoder::default();
    let mut replies = Vec::new();
    for piece in long.chunks(1000) {
        decoder.push(piece);
        while let Some(reply) = decoder.next(10 << 20).unwrap() {
            replies.push(reply);
        }
    }
    assert!(matches!(&replies[0], Reply::Status(text) if text.starts_with("yyy")));
    assert_eq!(replies[1..], [ok()]);
    // Nested arrays also count.
    let wide = [b"*1000\r\n".as_slice(), &b"*1\r\n*1\r\n:1\r\n".repeat(1000), b"+OK\r\n"].concat();
    assert_eq!(decoded(&wide, 200_000), Ok(vec![Reply::Error(TOO_LARGE.into()), ok()]));
    let deep = [b"*1\r\n".repeat(10_000).as_slice(), b":1\r\n+OK\r\n"].concat();
    let replies = decoded(&deep, 2_000_000).unwrap();
    assert_eq!(replies[1], ok());
    let depth = |mut reply: &Reply| {
        let mut depth = 0;
        while let Reply::Array(replies) = reply {
            (reply, depth) = (&replies[0], depth + 1);
        }
        depth
    };
    assert_eq!(depth(&replies[0]), DEPTH_MAX);
}

#[cfg(not(target_arch = "wasm32"))]
mod properties {
    use super::*;
    use proptest::prelude::*;

    fn any_reply() -> impl Strategy<Value = Reply> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Reply::Integer),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Reply::Bulk),
            "[a-zA-Z ]{0,9}".prop_map(Reply::Status),
            "[a-zA-Z ]{0,9}".prop_map(Reply::Error),
            Just(Reply::Null),
        ];
        leaf.prop_recursive(4, 16, 4, |inner| {
            prop::collection::vec(inner, 0..4).prop_map(Reply::Array)
        })
    }

    proptest! {
        #[test]
        fn encoded_replies_decode_to_themselves_in_pieces(
            replies in prop::collection::vec(any_reply(), 0..5), piece in 1..30_usize,
        ) {
            let mut bytes = Vec::new();
            replies.iter().for_each(|reply| encode_resp2(reply, &mut bytes));
            prop_assert_eq!(replies.iter().map(resp2_bytes).sum::<usize>(), bytes.len());
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for piece in bytes.chunks(piece) {
                decoder.push(piece);
                while let Some(reply) = decoder.next(10_000).unwrap() {
                    got.push(reply);
                }
            }
            prop_assert_eq!(got, replies);
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(prop_oneof![
            any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'*'), Just(b'$'), Just(b'1'), Just(b'-'),
        ], 0..200), most in 0..50_usize) {
            let _ = decoded(&bytes, most);
        }
    }
}
