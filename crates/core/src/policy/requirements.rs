//! What an issuer's tokens must have in their claims or header, besides the standard members. This
//! separates access tokens from other JWTs that the same key signs.

use crate::json::path::find;
use serde_json::{Map, Value};

/// The required and forbidden members of a JSON object, each by its place: a name or a JSON Pointer
/// (RFC 6901).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Requirements {
    /// Members that must have one of some values, or be a list that contains one of them.
    pub values: Vec<(String, Vec<Value>)>,
    /// Members that must exist. A null does not count.
    pub required: Vec<String>,
    /// Members that must not exist. A null counts.
    pub forbidden: Vec<String>,
}

/// A requirement that a token does not meet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Unmet<'r> {
    /// The end of the setting's name, after `claims` or `header`.
    pub(crate) setting: &'static str,
    /// The member's place.
    pub(crate) place: &'r str,
}

impl Requirements {
    /// Returns whether there is no requirement.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty() && self.required.is_empty() && self.forbidden.is_empty()
    }

    /// Returns the first requirement that `members` do not meet; `None` if they meet all.
    pub(crate) fn unmet(&self, members: &Map<String, Value>) -> Option<Unmet<'_>> {
        let wrong = self.values.iter().find(|(place, allowed)| {
            !find(members, place).is_some_and(|value| is_one_of(value, allowed))
        });
        let missing = |place: &&String| find(members, place).is_none_or(Value::is_null);
        let present = |place: &&String| find(members, place).is_some();
        let unmet = |setting, place| Unmet { setting, place };
        wrong
            .map(|(place, _)| unmet("", place))
            .or_else(|| Some(unmet("_required", self.required.iter().find(missing)?)))
            .or_else(|| Some(unmet("_forbidden", self.forbidden.iter().find(present)?)))
    }
}

/// Returns whether a value is one of `allowed`, or a list that contains one of them.
fn is_one_of(value: &Value, allowed: &[Value]) -> bool {
    match value {
        Value::Array(values) => values.iter().any(|value| allowed.contains(value)),
        value => allowed.contains(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn requirements(
        values: &[(&str, Value)],
        required: &[&str],
        forbidden: &[&str],
    ) -> Requirements {
        let texts = |places: &[&str]| places.iter().map(|place| (*place).to_owned()).collect();
        let value = |(place, allowed): &(&str, Value)| {
            ((*place).to_owned(), allowed.as_array().unwrap().clone())
        };
        Requirements {
            values: values.iter().map(value).collect(),
            required: texts(required),
            forbidden: texts(forbidden),
        }
    }

    #[test]
    fn requirements_are_met_by_value_and_by_existence() {
        let all = requirements(
            &[("token_use", json!(["access", 7])), ("/realm/roles", json!(["user"]))],
            &["/sid"],
            &["nonce", "/a~1b"],
        );
        let check = |text: &str, expect: Option<(&'static str, &str)>| {
            let members = json::object(text.as_bytes()).unwrap();
            let got = all.unmet(&members).map(|unmet| (unmet.setting, unmet.place));
            assert_eq!(got, expect, "{text}");
        };
        let wrong = |place| Some(("", place));
        let good = r#""token_use":"access","realm":{"roles":["x","user"]},"sid":"s""#;
        check(&format!("{{{good}}}"), None);
        check(&format!("{{{good},\"b\":null}}"), None);
        check(&format!("{{{good},\"nonce\":\"n\"}}"), Some(("_forbidden", "nonce")));
        check(&format!("{{{good},\"nonce\":null}}"), Some(("_forbidden", "nonce")));
        check(&format!("{{{good},\"a/b\":false}}"), Some(("_forbidden", "/a~1b")));
        let with = |from: &str, to: &str| format!("{{{}}}", good.replace(from, to));
        check(&with(r#""access""#, "7"), None);
        check(&with(r#""access""#, r#"["id","access"]"#), None);
        check(&with(r#""access""#, r#""7""#), wrong("token_use"));
        check(&with(r#""access""#, r#""Access""#), wrong("token_use"));
        check(&with(r#""access""#, r#""id""#), wrong("token_use"));
        check(&with(r#""access""#, "null"), wrong("token_use"));
        check(&with(r#""access""#, r#"{"access":true}"#), wrong("token_use"));
        check(&with(r#""access""#, r#"[["access"]]"#), wrong("token_use"));
        check(&with("token_use", "Token_use"), wrong("token_use"));
        check(&with("realm", "other"), wrong("/realm/roles"));
        check(&with(r#"["x","user"]"#, "[]"), wrong("/realm/roles"));
        check(&with(r#"["x","user"]"#, r#""user""#), None);
        check(&with(r#""s""#, "null"), Some(("_required", "/sid")));
        check(&with(r#""s""#, r#""""#), None);
        check(&with(r#""sid""#, r#""sid2""#), Some(("_required", "/sid")));
        check("{}", wrong("token_use"));
    }

    #[test]
    fn no_requirements_are_met_by_anything() {
        let members = json::object(br#"{"nonce":1}"#).unwrap();
        assert_eq!(Requirements::default().unmet(&members), None);
        assert_eq!(Requirements::default().unmet(&Map::new()), None);
    }
}
