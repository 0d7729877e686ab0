//! The caller's claims as header fields.

use crate::json;
use crate::policy::identity::IdentityFields;
use crate::token::claims::Claims;
use serde_json::Value;
use std::fmt::Write as _;

impl IdentityFields {
    /// Returns the fields of a caller, by name and value.
    pub(super) fn of<'p>(&'p self, claims: &Claims) -> Vec<(&'p str, String)> {
        let mut fields = Vec::new();
        for (name, value) in [
            (Some(&self.subject), claims.subject()),
            (Some(&self.scope), Some(claims.scope.as_str())),
            (Some(&self.session), claims.sid.as_deref()),
            (Some(&self.client), claims.client_id.as_deref()),
            (self.issuer.as_ref(), Some(claims.iss.as_str())),
        ] {
            if let (Some(name), Some(value)) = (name, value) {
                fields.push((name.as_str(), field_value(value)));
            }
        }
        for (claim, name) in &self.claims {
            match claims.others.get(claim) {
                Some(Value::String(text)) => fields.push((name, field_value(text))),
                Some(value) => fields.push((name, field_value(&json::write::text(value)))),
                None => {}
            }
        }
        fields
    }
}

/// Encodes a claim as a field's value. Visible ASCII and inner spaces stay. Every other byte, and
/// `%`, is percent-encoded, so that no claim can end the field or begin another.
fn field_value(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'%';
    if text.split(' ').all(|word| !word.is_empty() && word.bytes().all(plain)) {
        return text.to_owned();
    }
    let mut value = String::with_capacity(text.len());
    for (place, byte) in text.bytes().enumerate() {
        let outer = place == 0 || place + 1 == text.len();
        if plain(byte) || (byte == b' ' && !outer) {
            value.push(char::from(byte));
        } else {
            let _ = write!(value, "%{byte:02X}");
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn claim_can_not_end_its_header_field() {
        fn check(text: &str, expect: &str) {
            assert_eq!(field_value(text), expect);
        }
        check("alice", "alice");
        check("a b", "a b");
        check(" a ", "%20a%20");
        check("100%", "100%25");
        check("\u{e9}\0", "%C3%A9%00");
    }
}
