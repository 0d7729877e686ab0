//! A claim by its place: a name, or a JSON Pointer (RFC 6901), which begins with a slash.

use serde_json::{Map, Value};

/// Returns the member at a place. A text without a slash at its start is a name as it is, so that
/// names such as `https://api.example/roles` need no escapes.
pub fn find<'a>(members: &'a Map<String, Value>, place: &str) -> Option<&'a Value> {
    let Some(pointer) = place.strip_prefix('/') else {
        return members.get(place);
    };
    match pointer.split_once('/') {
        None => members.get(&unescape(pointer)),
        Some((first, _)) => {
            let rest = pointer.get(first.len()..)?;
            members.get(&unescape(first))?.pointer(rest)
        }
    }
}

/// Returns whether a text is a place: a name that is not empty, or a pointer whose `~` are each
/// followed by `0` or `1` (RFC 6901 section 3).
pub fn is_place(text: &str) -> bool {
    if !text.starts_with('/') {
        return !text.is_empty();
    }
    text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']))
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
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
        for missing in ["roles", "/roles", "/scp/0", "/list/1/n", "/realm_access/roles/x", "a"] {
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
}
