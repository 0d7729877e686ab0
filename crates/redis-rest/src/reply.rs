//! Redis replies and their JSON.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Number;
use std::{fmt, io};

/// One reply, with the types of RESP2.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    /// An array of replies.
    Array(Vec<Reply>),
    /// A bulk string of any bytes.
    Bulk(Vec<u8>),
    /// An error. Its text starts with a code in capitals, such as `NOSCRIPT`.
    Error(String),
    /// An integer.
    Integer(i64),
    /// The null reply: there is no such value.
    Null,
    /// A simple string such as `OK`.
    Status(String),
}

impl Reply {
    /// Creates a bulk string.
    pub fn text(text: &str) -> Self {
        Self::Bulk(text.as_bytes().to_vec())
    }

    /// Returns the text of a bulk string or a simple string. Returns `None` for other replies.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Bulk(bytes) => std::str::from_utf8(bytes).ok(),
            Self::Status(text) => Some(text),
            Self::Array(_) | Self::Error(_) | Self::Integer(_) | Self::Null => None,
        }
    }

    /// Returns whether this is the error for an unknown script in `EVALSHA`.
    pub fn is_noscript(&self) -> bool {
        matches!(self, Self::Error(text) if text.starts_with("NOSCRIPT"))
    }
}

/// The reason why a response to a pipeline is rejected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReplyError {
    /// The number of replies differs from the number of commands.
    Count,
    /// The body is not the protocol's JSON.
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

/// The encoding of strings in JSON, which a client selects with `Upstash-Encoding`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// Standard base64 with padding, except for a top-level `OK` and errors.
    Base64,
    /// JSON text. Bytes that are not UTF-8 become U+FFFD.
    Text,
}

/// Encodes one reply: `{"result": …}` or `{"error": "…"}`.
///
/// # Errors
///
/// The error of `out`.
pub fn encode_reply(reply: &Reply, encoding: Encoding, out: impl io::Write) -> io::Result<()> {
    Ok(serde_json::to_writer(out, &Item { reply, encoding })?)
}

/// Encodes the replies to a pipeline as an array with one item each.
///
/// # Errors
///
/// The error of `out`.
pub fn encode_replies(
    replies: &[Reply],
    encoding: Encoding,
    out: impl io::Write,
) -> io::Result<()> {
    let mut json = serde_json::Serializer::new(out);
    Ok(json.collect_seq(replies.iter().map(|reply| Item { reply, encoding }))?)
}

/// Decodes the response to a pipeline of `count` commands.
///
/// The caller bounds the length of `body`. Numbers that are no 64-bit integers become text.
///
/// # Errors
///
/// [`ReplyError::Malformed`] if the body is not the protocol's JSON, and [`ReplyError::Count`] if
/// it has not `count` replies.
pub fn decode_replies(body: &str, count: usize) -> Result<Vec<Reply>, ReplyError> {
    // As bytes, since most programs read other JSON as bytes, too. Each way is code of its own.
    let mut json = serde_json::Deserializer::from_slice(body.as_bytes());
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

/// A JSON value in a response.
///
/// This replaces serde's own types, because their error messages would add more code to a Worker
/// than this whole file.
enum Json {
    Item { result: Option<Reply>, error: Option<String> },
    List(Vec<Json>),
    Plain(Reply),
    Text(String),
}

impl Json {
    /// Converts an item to its reply.
    fn reply(self) -> Option<Reply> {
        match self {
            Self::Item { result: Some(reply), error: None } => Some(reply),
            Self::Item { result: None, error: Some(text) } => Some(Reply::Error(text)),
            Self::Item { .. } | Self::List(_) | Self::Plain(_) | Self::Text(_) => None,
        }
    }

    /// Converts a result to its reply.
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
        Err(E::custom("invalid reply"))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Plain(Reply::Integer(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        let reply = i64::try_from(number).map(Reply::Integer);
        Ok(Json::Plain(reply.unwrap_or_else(|_| Reply::text(&number.to_string()))))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Json, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("invalid number"))?;
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
            let is_duplicate = match name.as_str() {
                "result" => result.replace(members.next_value::<Json>()?).is_some(),
                "error" => error.replace(members.next_value::<Json>()?).is_some(),
                _ => members.next_value::<IgnoredAny>().map(|_| false)?,
            };
            if is_duplicate {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        let invalid_item = || A::Error::custom("invalid item");
        let error = match error {
            None | Some(Json::Plain(Reply::Null)) => None,
            Some(Json::Text(text)) => Some(text),
            Some(_) => return Err(invalid_item()),
        };
        let result = result.map(|value| value.result().ok_or_else(invalid_item)).transpose()?;
        Ok(Json::Item { result, error })
    }
}

#[cfg(test)]
mod tests;
