//! A Redis reply and its JSON: what a server may answer.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Number;
use std::fmt;

/// One reply, in the shapes of RESP2.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// Several replies in one.
    Array(Vec<Reply>),
    /// A string; Redis's are bytes.
    Bulk(Vec<u8>),
    /// The command failed; its text begins with a code in capitals, such as `NOSCRIPT`.
    Error(String),
    /// A whole number.
    Integer(i64),
    /// There is no such value.
    Null,
    /// A short line such as `OK`.
    Status(String),
}

impl Reply {
    /// A string reply.
    pub fn text(text: &str) -> Self {
        Self::Bulk(text.as_bytes().to_vec())
    }

    /// The text of a string or status reply.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Bulk(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Status(text) => Some(text),
            Self::Array(_) | Self::Error(_) | Self::Integer(_) | Self::Null => None,
        }
    }

    /// Whether the server says that it does not know the script of an `EVALSHA`.
    pub fn is_noscript(&self) -> bool {
        matches!(self, Self::Error(text) if text.starts_with("NOSCRIPT"))
    }
}

/// Why an answer to a pipeline can't be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplyError {
    /// It holds more or fewer replies than commands were sent.
    Count,
    /// It is not the protocol's JSON.
    Malformed,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "the number of replies is not the number of commands",
            Self::Malformed => "the answer is not the REST protocol's JSON",
        })
    }
}

impl std::error::Error for ReplyError {}

/// How strings are written, as the client asked by `Upstash-Encoding`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// Every string but a top-level `OK` in standard base64 with padding; errors stay text.
    Base64,
    /// Strings as JSON text; bytes that are not UTF-8 become U+FFFD.
    Text,
}

/// The JSON of one reply: `{"result": …}` or `{"error": "…"}`.
pub fn encode_reply(reply: &Reply, encoding: Encoding) -> String {
    serde_json::to_string(&Item { reply, encoding }).unwrap_or_default()
}

/// The JSON of a pipeline's replies: an array with an item each.
pub fn encode_replies(replies: &[Reply], encoding: Encoding) -> String {
    let items: Vec<Item<'_>> = replies.iter().map(|reply| Item { reply, encoding }).collect();
    serde_json::to_string(&items).unwrap_or_default()
}

/// Reads the answer to a pipeline of `count` commands.
pub fn decode_replies(body: &str, count: usize) -> Result<Vec<Reply>, ReplyError> {
    let mut json = serde_json::Deserializer::from_str(body);
    let read = Json::deserialize(&mut json).and_then(|read| json.end().map(|()| read));
    let Ok(Json::List(items)) = read else {
        return Err(ReplyError::Malformed);
    };
    if items.len() != count {
        return Err(ReplyError::Count);
    }
    items.into_iter().map(|item| item.reply().ok_or(ReplyError::Malformed)).collect()
}

struct Item<'a> {
    reply: &'a Reply,
    encoding: Encoding,
}

impl Serialize for Item<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self.reply {
            Reply::Error(text) => map.serialize_entry("error", text)?,
            Reply::Status(text) if text == "OK" => map.serialize_entry("result", text)?,
            reply => map.serialize_entry("result", &Nested { reply, encoding: self.encoding })?,
        }
        map.end()
    }
}

struct Nested<'a> {
    reply: &'a Reply,
    encoding: Encoding,
}

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encoding = self.encoding;
        match self.reply {
            Reply::Array(replies) => {
                let mut seq = serializer.serialize_seq(Some(replies.len()))?;
                for reply in replies {
                    seq.serialize_element(&Nested { reply, encoding })?;
                }
                seq.end()
            }
            Reply::Bulk(bytes) => string(bytes, encoding, serializer),
            Reply::Error(text) => serializer.serialize_str(text),
            Reply::Integer(number) => serializer.serialize_i64(*number),
            Reply::Null => serializer.serialize_none(),
            Reply::Status(text) => string(text.as_bytes(), encoding, serializer),
        }
    }
}

fn string<S: Serializer>(
    bytes: &[u8],
    encoding: Encoding,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match encoding {
        Encoding::Base64 => serializer.serialize_str(&base64(bytes)),
        Encoding::Text => serializer.serialize_str(&String::from_utf8_lossy(bytes)),
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// What stands in an answer. It is read without serde's own types, whose words for what is wrong, floating-point numbers
/// among them, would weigh more in a Worker than all of this.
enum Json {
    Item { result: Option<Reply>, error: Option<String> },
    List(Vec<Json>),
    Plain(Reply),
    Text(String),
}

impl Json {
    /// The reply that an item is.
    fn reply(self) -> Option<Reply> {
        match self {
            Self::Item { result: Some(reply), error: None } => Some(reply),
            Self::Item { result: None, error: Some(text) } => Some(Reply::Error(text)),
            Self::Item { .. } | Self::List(_) | Self::Plain(_) | Self::Text(_) => None,
        }
    }

    /// The reply that a result is.
    fn result(self) -> Option<Reply> {
        match self {
            Self::Item { .. } => None,
            Self::List(values) => {
                values.into_iter().map(Self::result).collect::<Option<_>>().map(Reply::Array)
            }
            Self::Plain(reply) => Some(reply),
            Self::Text(text) => Some(Reply::Bulk(text.into_bytes())),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reply")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Plain(Reply::Null))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Json, E> {
        Err(E::custom("no reply"))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Plain(Reply::Integer(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        let reply = i64::try_from(number).map(Reply::Integer);
        Ok(Json::Plain(reply.unwrap_or_else(|_| Reply::text(&number.to_string()))))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("no number"))?;
        Ok(Json::Plain(Reply::text(&number.to_string())))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = entries.next_element()? {
            values.push(value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let (mut result, mut error) = (None, None);
        while let Some(name) = members.next_key::<String>()? {
            let twice = match name.as_str() {
                "result" => result.replace(members.next_value::<Json>()?).is_some(),
                "error" => error.replace(members.next_value::<Json>()?).is_some(),
                _ => members.next_value::<IgnoredAny>().map(|_| false)?,
            };
            if twice {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        let no_item = || A::Error::custom("no item");
        let error = match error {
            None | Some(Json::Plain(Reply::Null)) => None,
            Some(Json::Text(text)) => Some(text),
            Some(_) => return Err(no_item()),
        };
        let result = result.map(|value| value.result().ok_or_else(no_item)).transpose()?;
        Ok(Json::Item { result, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn replies_are_written_as_json() {
        fn check(reply: Reply, text: &str, base64: &str) {
            assert_eq!(encode_reply(&reply, Encoding::Text), text);
            assert_eq!(encode_reply(&reply, Encoding::Base64), base64);
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
    fn replies_are_read_from_json() {
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
        check(
            r#"[{"result":18446744073709551615}]"#,
            1,
            Ok(&[Reply::text("18446744073709551615")]),
        );
        check(r#"[{"result":1.5}]"#, 1, Ok(&[Reply::text("1.5")]));
        let deep = |depth| format!(r#"[{{"result":{}{}}}]"#, "[".repeat(depth), "]".repeat(depth));
        check(&deep(100_000), 1, Err(ReplyError::Malformed));
    }

    #[test]
    fn a_missing_script_is_told_from_other_errors() {
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
            fn what_is_encoded_is_decoded(replies in prop::collection::vec(any_reply(), 0..5)) {
                let body = encode_replies(&replies, Encoding::Text);
                prop_assert_eq!(decode_replies(&body, replies.len()), Ok(replies));
            }

            #[test]
            fn no_body_panics(body in ".{0,200}", count in 0..4_usize) {
                let _ = decode_replies(&body, count);
            }
        }
    }
}
