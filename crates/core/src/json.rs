//! A strict reader for untrusted JSON. It rejects a duplicate member at every depth, because two
//! readers could choose different ones (RFC 8725 section 2.4, RFC 7519 section 4). It bounds the
//! nesting.

pub mod path;
pub mod write;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Reads one JSON object. Returns `None` if `text` is anything else.
pub fn object(text: &[u8]) -> Option<Map<String, Value>> {
    members(value(text))
}

/// Reads one of core's own records, which may nest untrusted JSON one level deeper.
pub fn record(text: &[u8]) -> Option<Map<String, Value>> {
    members(value_within(text, DEPTH_MAX + 1))
}

fn members(value: Result<Value, serde_json::Error>) -> Option<Map<String, Value>> {
    match value {
        Ok(Value::Object(members)) => Some(members),
        Ok(_) | Err(_) => None,
    }
}

/// Reads one JSON value.
pub fn value(text: &[u8]) -> Result<Value, serde_json::Error> {
    value_within(text, DEPTH_MAX)
}

fn value_within(text: &[u8], depth_left: usize) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth_left }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict {
    depth_left: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth_left = self.depth_left.checked_sub(1).ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { depth_left })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("no number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut values = Vec::new();
        while let Some(value) = entries.next_element_seed(inner)? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(inner)?;
            if map.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Value::Object(map))
    }
}

/// A depth above what any header, claims set, key set or provider's response needs.
const DEPTH_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn object_is_rejected_when_malformed_ambiguous_or_deep() {
        fn check(text: &str, expect: bool) {
            assert_eq!(object(text.as_bytes()).is_some(), expect, "{text}");
        }
        check("{}", true);
        check(" {\"a\": [1, -1, 1.5, null, true, \"x\", {\"b\": {}}]}\n", true);
        check(r#"{"a":1,"a":1}"#, false);
        check(r#"{"a":1,"\u0061":2}"#, false);
        check(r#"{"a":{"b":1,"b":2}}"#, false);
        check(r#"{"a":[{"b":1,"b":2}]}"#, false);
        check(r#"{"a":{"b":1},"b":{"b":2}}"#, true);
        for text in ["", "[]", "7", "null", "\"{}\"", "{}{}", "{} x", "{", "{a:1}", "{'a':1}"] {
            check(text, false);
        }
        check(r#"{"a":1e999}"#, false);
        check(r#"{"a":NaN}"#, false);
        check(r#"{"a":"\ud800"}"#, false);
        check("\u{feff}{}", false);
        let nested = |depth| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        check(&nested(DEPTH_MAX - 1), true);
        check(&nested(DEPTH_MAX), false);
        check(&nested(100_000), false);
        assert!(object(b"{\"a\":\"\xff\"}").is_none());
    }
}
