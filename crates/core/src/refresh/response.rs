//! The auth service's response to a refresh, as it is stored for replay.

use crate::json;
use crate::request::cookie::REFRESH_COOKIE;
use serde_json::Value;
use std::fmt;

/// The auth service's response with status 200.
#[derive(Clone, Eq, PartialEq)]
pub struct CapturedResponse {
    /// The header fields that are replayed, by name and value.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl fmt::Debug for CapturedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CapturedResponse(REDACTED)")
    }
}

impl CapturedResponse {
    /// Parses a captured response: names and values in turn, a line each; an empty line; the body.
    /// Returns `None` if the empty line is missing.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, body) = match text.strip_prefix('\n') {
            Some(body) => ("", body),
            None => text.split_once("\n\n")?,
        };
        let mut lines = head.split('\n').filter(|line| !line.is_empty());
        let mut fields = Vec::new();
        while let (Some(name), Some(value)) = (lines.next(), lines.next()) {
            fields.push((name.to_owned(), value.to_owned()));
        }
        Some(Self { fields, body: body.to_owned() })
    }

    /// Encodes the response for the store.
    pub(super) fn encode(&self) -> String {
        let pair = |(name, value): &(String, String)| {
            Value::Array(vec![name.as_str().into(), value.as_str().into()])
        };
        let fields = self.fields.iter().map(pair).collect();
        json::write::object_text(vec![
            ("body", Some(self.body.as_str().into())),
            ("fields", Some(Value::Array(fields))),
        ])
    }

    /// Decodes a response from the store. Returns `None` if it is malformed.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let stored = json::object(text.as_bytes())?;
        let fields = stored.get("fields")?.as_array()?.iter().map(|field| {
            let text = |place| field.get(place).and_then(Value::as_str).map(str::to_owned);
            Some((text(0)?, text(1)?))
        });
        let fields = fields.collect::<Option<_>>()?;
        Some(Self { fields, body: stored.get("body")?.as_str()?.to_owned() })
    }

    /// Returns a string member of the JSON body.
    pub(super) fn member(&self, name: &str) -> Option<String> {
        let members = json::object(self.body.as_bytes())?;
        members.get(name).and_then(Value::as_str).map(str::to_owned)
    }

    /// Returns the new refresh token, from the body or the cookie.
    pub(super) fn refresh_token(&self) -> Option<String> {
        let in_cookie = || {
            let set = self.fields.iter().filter(|(name, _)| name == "set-cookie");
            let pairs = set.filter_map(|(_, value)| value.split(';').next()?.split_once('='));
            pairs
                .filter(|(name, _)| *name == REFRESH_COOKIE)
                .map(|(_, value)| value.to_owned())
                .next()
        };
        self.member("refresh_token").or_else(in_cookie)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn captured_response_is_parsed_from_lines() {
        let response = CapturedResponse::parse("a\nb\nset-cookie\nx=y; z\n\n{\n\n}").unwrap();
        let fields = [("a".into(), "b".into()), ("set-cookie".into(), "x=y; z".into())];
        assert_eq!(response.fields, fields);
        assert_eq!(response.body, "{\n\n}");
        assert_eq!(
            CapturedResponse::parse("\nbody").unwrap(),
            CapturedResponse { fields: vec![], body: "body".into() }
        );
        let body = "{\"a\": 1,\n \"b\":\n\n 2 }";
        assert_eq!(CapturedResponse::parse(&format!("\n{body}")).unwrap().body, body);
        assert_eq!(CapturedResponse::parse("a\nb"), None);
    }
}
