//! RESP2, which Redis itself speaks: commands and replies to bytes, and bytes to replies.

use crate::{Command, Reply};
use std::fmt;

/// Appends a command as Redis receives it.
pub fn encode_resp2_command(command: &Command, out: &mut Vec<u8>) {
    line(out, b'*', &command.words().len().to_string());
    command.words().iter().for_each(|word| bulk(out, word));
}

/// Appends a reply as Redis writes it.
pub fn encode_resp2(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Array(replies) => {
            line(out, b'*', &replies.len().to_string());
            replies.iter().for_each(|reply| encode_resp2(reply, out));
        }
        Reply::Bulk(bytes) => bulk(out, bytes),
        Reply::Error(text) => line(out, b'-', text),
        Reply::Integer(number) => line(out, b':', &number.to_string()),
        Reply::Null => out.extend(b"$-1\r\n"),
        Reply::Status(text) => line(out, b'+', text),
    }
}

/// A line ends at its line break, so one within it would begin another reply.
fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend(text.bytes().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte }));
    out.extend(b"\r\n");
}

fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    line(out, b'$', &bytes.len().to_string());
    out.extend(bytes);
    out.extend(b"\r\n");
}

/// Makes replies of bytes that come in pieces. What a script can put into a reply (an error that is no
/// text, arrays in arrays without end, more than anybody asked for) is cut, and the replies behind it
/// are found all the same: they may be somebody else's.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Where the bytes begin that were not looked at.
    at: usize,
    /// What is left of a string that is not kept.
    skip: usize,
    /// Whether the rest of a line is not kept.
    skip_line: bool,
    /// The arrays that are not whole yet, the outermost first.
    open: Vec<Open>,
    /// What the reply takes so far.
    bytes: usize,
    /// What the last whole one took.
    last: usize,
}

struct Open {
    replies: Vec<Reply>,
    missing: usize,
}

/// Why the bytes are no replies. What follows can't be understood either.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Garbled;

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not RESP2")
    }
}

impl std::error::Error for Garbled {}

impl Decoder {
    /// Takes more bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.at > 0 && self.at >= self.buffer.len() / 2 {
            self.buffer.drain(..self.at);
            self.at = 0;
            // What one large reply took is not kept for ever.
            if self.buffer.capacity() > BUFFER_BYTES && self.buffer.len() < BUFFER_BYTES / 2 {
                self.buffer.shrink_to(BUFFER_BYTES);
            }
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next reply, if it is whole; one of more than `bytes_max` is an error in its place.
    pub fn next(&mut self, bytes_max: usize) -> Result<Option<Reply>, Garbled> {
        loop {
            if self.skip > 0 {
                let skipped = self.skip.min(self.buffer.len() - self.at);
                self.at += skipped;
                self.skip -= skipped;
                if self.skip > 0 {
                    return Ok(None);
                }
            }
            if self.skip_line && !self.skipped_line() {
                return Ok(None);
            }
            let Some(mut reply) = self.element(bytes_max)? else { return Ok(None) };
            // A reply that is whole may be the last of the array that it stands in.
            loop {
                let depth = self.open.len();
                let Some(open) = self.open.last_mut() else {
                    let bytes = std::mem::take(&mut self.bytes);
                    if bytes > bytes_max {
                        self.last = 0;
                        return Ok(Some(Reply::Error(TOO_LARGE.to_owned())));
                    }
                    self.last = bytes;
                    return Ok(Some(reply));
                };
                // Beyond a bound, what is counted is not kept.
                if self.bytes <= bytes_max && depth <= DEPTH_MAX {
                    open.replies.push(reply);
                }
                open.missing -= 1;
                if open.missing > 0 {
                    break;
                }
                let replies = self.open.pop().map(|open| open.replies).unwrap_or_default();
                reply = if depth > DEPTH_MAX {
                    Reply::Error("ERR the reply is nested too deeply".to_owned())
                } else {
                    Reply::Array(replies)
                };
            }
        }
    }

    /// A line that has not ended: a text may be long, and then its beginning stands for it.
    fn unended(&mut self) -> Result<Option<Reply>, Garbled> {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        match rest.split_first() {
            Some((kind @ (b'+' | b'-'), text)) if rest.len() > LINE_BYTES_MAX => {
                let text = lossy(text);
                let reply = if *kind == b'+' { Reply::Status(text) } else { Reply::Error(text) };
                self.bytes += ELEMENT_BYTES + rest.len();
                (self.at, self.skip_line) = (self.buffer.len(), true);
                Ok(Some(reply))
            }
            Some((b'+' | b'-', _)) | None => Ok(None),
            Some(_) if rest.len() > NUMBER_BYTES_MAX => Err(Garbled),
            Some(_) => Ok(None),
        }
    }

    /// Whether the line that is not kept has ended.
    fn skipped_line(&mut self) -> bool {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|byte| *byte == b'\n');
        self.at += end.map_or(rest.len(), |end| end + 1);
        self.skip_line = end.is_none();
        end.is_some()
    }

    /// How many bytes the last reply takes.
    pub fn last_bytes(&self) -> usize {
        self.last
    }

    /// The next value that is not the beginning of an array with something in it.
    fn element(&mut self, bytes_max: usize) -> Result<Option<Reply>, Garbled> {
        loop {
            let rest = self.buffer.get(self.at..).unwrap_or_default();
            let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
                return self.unended();
            };
            let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r")).ok_or(Garbled)?;
            let (kind, text) = line.split_first().ok_or(Garbled)?;
            let after = self.at + end + 1;
            let reply = match kind {
                b'+' => Reply::Status(lossy(text)),
                b'-' => Reply::Error(lossy(text)),
                b':' => Reply::Integer(number(text)?),
                b'$' => match usize::try_from(number(text)?) {
                    Err(_) => Reply::Null,
                    Ok(length) if length > BULK_BYTES_MAX => return Err(Garbled),
                    Ok(length) if self.bytes + ELEMENT_BYTES + length > bytes_max => {
                        self.bytes += ELEMENT_BYTES + length;
                        (self.at, self.skip) = (after, length + 2);
                        return Ok(Some(Reply::Null));
                    }
                    Ok(length) => {
                        let Some(whole) = self.buffer.get(after..after + length + 2) else {
                            return Ok(None);
                        };
                        let bytes = whole.strip_suffix(b"\r\n").ok_or(Garbled)?.to_vec();
                        self.bytes += ELEMENT_BYTES + length;
                        self.at = after + length + 2;
                        return Ok(Some(Reply::Bulk(bytes)));
                    }
                },
                b'*' => match usize::try_from(number(text)?) {
                    Err(_) => Reply::Null,
                    Ok(0) => Reply::Array(Vec::new()),
                    Ok(_) if self.open.len() >= OPEN_MAX => return Err(Garbled),
                    Ok(missing) => {
                        self.at = after;
                        // However many are announced, room is made for what comes: for a few at first.
                        self.bytes += 4 * ELEMENT_BYTES;
                        self.open.push(Open { replies: Vec::new(), missing });
                        continue;
                    }
                },
                _ => return Err(Garbled),
            };
            self.bytes += ELEMENT_BYTES + text.len();
            self.at = after;
            return Ok(Some(reply));
        }
    }
}

/// The error in the place of a reply that is too large. What it answers was done.
pub const TOO_LARGE: &str = "ERR the reply is too large";

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn number(text: &[u8]) -> Result<i64, Garbled> {
    // The same, whether or not the line comes in pieces.
    if text.len() + 2 > NUMBER_BYTES_MAX {
        return Err(Garbled);
    }
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Garbled)
}

/// Deeper than anything but a script's reply.
const DEPTH_MAX: usize = 64;
/// What a value takes besides its bytes.
const ELEMENT_BYTES: usize = 32;
/// Far beyond Redis's own bound, and small enough to be added to.
const BULK_BYTES_MAX: usize = usize::MAX >> 2;
/// No Redis nests so deeply.
const OPEN_MAX: usize = 10_001;
const LINE_BYTES_MAX: usize = 1 << 20;
/// More than any number has.
const NUMBER_BYTES_MAX: usize = 64;
/// A buffer that is larger is made smaller when it is not needed.
const BUFFER_BYTES: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// All replies in these bytes, given one at a time.
    fn decoded(bytes: &[u8], bytes_max: usize) -> Result<Vec<Reply>, Garbled> {
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
    fn replies_are_written_as_resp2() {
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
    fn replies_are_read_however_they_come() {
        fn check(bytes: &[u8], expect: Result<&[Reply], Garbled>) {
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
            Ok(&[
                Reply::Array(vec![Reply::Array(vec![Reply::Integer(1)]), Reply::text("x")]),
                ok(),
            ]),
        );
        check(b"-ERR \xff\r\n+OK\r\n", Ok(&[Reply::Error("ERR \u{fffd}".into()), ok()]));
        check(b"$2\r\n\xff\n\r\n", Ok(&[Reply::Bulk(vec![0xff, b'\n'])]));
        check(b"*2\r\n:1\r\n", Ok(&[]));
        for garbage in [
            b"x\r\n".as_slice(),
            b"\r\n",
            b"$x\r\n",
            b"$2\r\nabc\r\n",
            b"+OK\n",
            b":\r\n",
            b"_\r\n",
        ] {
            check(garbage, Err(Garbled));
        }
    }

    #[test]
    fn what_is_too_much_is_cut_and_the_next_reply_is_found() {
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
        // Arrays in arrays take room, too.
        let wide =
            [b"*1000\r\n".as_slice(), &b"*1\r\n*1\r\n:1\r\n".repeat(1000), b"+OK\r\n"].concat();
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
            fn what_is_written_is_read_in_whatever_pieces(
                replies in prop::collection::vec(any_reply(), 0..5), piece in 1..30_usize,
            ) {
                let mut bytes = Vec::new();
                replies.iter().for_each(|reply| encode_resp2(reply, &mut bytes));
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
            fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![
                any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'*'), Just(b'$'), Just(b'1'), Just(b'-'),
            ], 0..200), most in 0..50_usize) {
                let _ = decoded(&bytes, most);
            }
        }
    }
}
