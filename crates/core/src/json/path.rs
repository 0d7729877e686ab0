//! A claim by its place: a name, or a JSON Pointer (RFC 6901), which begins with a slash.

use serde_json::{Map, Value};

/// Returns the member at a place. A text without a slash at its start is a name as it is, so that
/// names such as `https://api.example/roles` need no escapes.
pub fn find<'a>(members: &'a Map<String, Value>, place: &str) -> Option<&'a Value> {
    let Some(pointer) = place.strip_prefix('/') else {
        return members.get(place);
    };
    // `Value::pointer` would do, but it adds 2 KB to the Worker.
    let mut found: Option<&Value> = None;
    for token in pointer.split('/') {
        let name = unescape(token);
        found = match found {
            None => members.get(&name),
            Some(Value::Object(members)) => members.get(&name),
            Some(Value::Array(values)) => values.get(index(&name)?),
            Some(_) => None,
        };
        found?;
    }
    found
}

/// Returns whether a text is a place: a name that is not empty, or a pointer whose `~` are each
/// followed by `0` or `1` (RFC 6901 section 3).
pub fn is_place(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_whole = |at: usize| matches!(bytes.get(at + 1), Some(b'0' | b'1'));
    let mut places = bytes.iter().enumerate();
    !bytes.is_empty()
        && (!text.starts_with('/') || places.all(|(at, b)| *b != b'~' || is_whole(at)))
}

/// Reads the place of an element, which has no leading zero (RFC 6901 section 4).
fn index(text: &str) -> Option<usize> {
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_plain)
}

fn unescape(token: &str) -> String {
    let mut text = String::new();
    for (at, part) in token.split('~').enumerate() {
        match (at, part.strip_prefix('1')) {
            (0, _) => text.push_str(part),
            (_, Some(rest)) => {
                text.push('/');
                text.push_str(rest);
            }
            (_, None) => {
                text.push('~');
                text.push_str(part.strip_prefix('0').unwrap_or(part));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn a_place_is_a_name_or_a_pointer() {
        let members = json::object(
            br#"{"scp":"a","realm_access":{"roles":["x","y"]},"/":1,"a/b":2,"a~b":3,"":4,
            "https://a.example/roles":["z"],"list":[{"n":5}],"~1":6}"#,
        )
        .unwrap();
        let found = |place: &str| find(&members, place).map(ToString::to_string);
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(found("scp"), text(r#""a""#));
        assert_eq!(found("/scp"), text(r#""a""#));
        assert_eq!(found("/realm_access/roles"), text(r#"["x","y"]"#));
        assert_eq!(found("/realm_access/roles/1"), text(r#""y""#));
        assert_eq!(found("/realm_access/roles/01"), None);
        assert_eq!(found("https://a.example/roles"), text(r#"["z"]"#));
        assert_eq!(found("/https:~1~1a.example~1roles"), text(r#"["z"]"#));
        assert_eq!(found("/~1"), text("1"));
        assert_eq!(found("/a~1b"), text("2"));
        assert_eq!(found("/a~0b"), text("3"));
        assert_eq!(found("/~01"), text("6"));
        assert_eq!(found("/"), text("4"));
        assert_eq!(found("/list/0/n"), text("5"));
        assert_eq!(found("/list/0"), text(r#"{"n":5}"#));
        for missing in [
            "roles",
            "/roles",
            "/scp/0",
            "/list/1/n",
            "/list/+0/n",
            "/list/-0/n",
            "/list/00/n",
            "/list//n",
            "/list/0/n/",
            "/realm_access/roles/x",
            "/realm_access/roles/0/x",
            "a",
        ] {
            assert_eq!(found(missing), None, "{missing}");
        }
    }

    #[test]
    fn a_tilde_of_a_pointer_needs_its_digit() {
        for place in ["a", "~", "a~2", "/", "/a~0b", "/a~1", "https://a/~x"] {
            assert!(is_place(place), "{place}");
        }
        for place in ["", "/~", "/a~2", "/a~0/~"] {
            assert!(!is_place(place), "{place}");
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    proptest::proptest! {
        /// serde_json reads pointers, too.
        #[test]
        fn pointer_finds_what_another_implementation_finds(
            pointer in "(/([ab01+]|~0|~1){0,2}){1,3}",
            text in r#"\{"a":(1|\[0,\{"b":2\},\[3\]\]|\{"":4,"b":\[5,6\],"/":7,"~":\{"0":8\}\})(,"0":9)?(,"~1":\[10\])?(,"/a":\{"1":11\})?(,"":12)?\}"#,
        ) {
            let members = json::object(text.as_bytes()).unwrap();
            let whole = Value::Object(members.clone());
            proptest::prop_assert_eq!(find(&members, &pointer), whole.pointer(&pointer));
        }
    }
}
