//! Writes JSON (RFC 8259), the same as serde_json does. That one would take up more of a Worker: it
//! is compiled for each kind of destination, and for indented text.

use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Returns a value as JSON.
pub fn text(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// Returns an object as JSON.
pub fn map_text(members: &Map<String, Value>) -> String {
    let mut out = String::new();
    write_map(members, &mut out);
    out
}

/// Returns an object as JSON, with these members in this order. Omits those that are `None`.
pub fn object_text(members: Vec<(&str, Option<Value>)>) -> String {
    let mut out = String::from("{");
    let known = members.into_iter().filter_map(|(name, value)| Some((name, value?)));
    for (place, (name, value)) in known.enumerate() {
        write_member(place, name, &value, &mut out);
    }
    out.push('}');
    out
}

fn write(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => {
            let _ = write!(out, "{number}");
        }
        Value::String(text) => write_string(text, out),
        Value::Array(values) => {
            out.push('[');
            for (place, value) in values.iter().enumerate() {
                separate(place, out);
                write(value, out);
            }
            out.push(']');
        }
        Value::Object(members) => write_map(members, out),
    }
}

fn write_map(members: &Map<String, Value>, out: &mut String) {
    out.push('{');
    for (place, (name, value)) in members.iter().enumerate() {
        write_member(place, name, value, out);
    }
    out.push('}');
}

fn write_member(place: usize, name: &str, value: &Value, out: &mut String) {
    separate(place, out);
    write_string(name, out);
    out.push(':');
    write(value, out);
}

fn write_string(text: &str, out: &mut String) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

fn separate(place: usize, out: &mut String) {
    if place > 0 {
        out.push(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn text_is_that_of_serde_json() {
        let long = "\u{20ac}".repeat(100);
        for value in [
            json!(null),
            json!([]),
            json!({}),
            json!([[], {}, [1, [true, false]]]),
            json!([0, -1, u64::MAX, i64::MIN, 1.5, -0.0, 1e300, 0.1]),
            json!({ "b": { "": "" }, "a": [null, { "x\"y": "z" }], "\n": 1 }),
            json!([
                " !",
                "\"",
                "\\",
                "/",
                "\u{0}\u{1f}\u{7f}",
                "\u{e9}\u{2028}",
                long,
                "\r\t\u{8}\u{c}"
            ]),
        ] {
            assert_eq!(text(&value), value.to_string());
        }
    }

    #[test]
    fn object_text_keeps_the_order_and_omits_what_is_missing() {
        let of = |first: Option<u64>| {
            object_text(vec![("b", first.map(Value::from)), ("a", Some("x".into())), ("c", None)])
        };
        assert_eq!(of(Some(1)), r#"{"b":1,"a":"x"}"#);
        assert_eq!(of(None), r#"{"a":"x"}"#);
        assert_eq!(object_text(Vec::new()), "{}");
    }
}
