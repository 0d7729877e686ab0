//! A token's own claims about its issuer and audience, genuine or not, for the log.

use super::bearer::Token;
use crate::json;
use crate::policy::issuer::Issuer;
use crate::policy::requirements::Unmet;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// The `iss` and `aud` of a token as received, and what it lacks. They are not verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReceivedClaims {
    /// The issuer that the token names, at most 200 bytes.
    pub iss: Option<String>,
    /// The audience: a string as it is, anything else as JSON, at most 200 bytes.
    pub aud: Option<String>,
    /// The first setting of its issuer that its header or claims do not meet, and the member's
    /// place in the token, `claims /token_use`.
    pub unmet: Option<String>,
}

impl ReceivedClaims {
    /// Reads the claims of a JWT. Returns `None` if the token has another form.
    pub(crate) fn of(token: Token<'_>, issuers: &[Issuer]) -> Option<Self> {
        let mut segments = token.expose().split('.');
        let (header, payload, _) = (segments.next()?, segments.next()?, segments.next()?);
        if segments.next().is_some() {
            return None;
        }
        let object = |segment| json::object(&URL_SAFE_NO_PAD.decode(segment).ok()?);
        let members = object(payload)?;
        let text = |name: &str| match members.get(name)? {
            Value::String(text) => Some(bounded(text)),
            other => Some(bounded(&json::write::text(other))),
        };
        let iss = members.get("iss").and_then(Value::as_str).unwrap_or_default();
        let signs = |issuer: &&Issuer| issuer.keys.is_some() && issuer.accepts(iss);
        let unmet = issuers.iter().find(signs).and_then(|issuer| {
            let text = |part: &str, unmet: Unmet<'_>| {
                bounded(&[part, unmet.setting, " ", unmet.place].concat())
            };
            let claims = issuer.claims.unmet(&members).map(|unmet| text("claims", unmet));
            // The header is read again only if something is required of it.
            let required = Some(&issuer.header).filter(|required| !required.is_empty());
            claims.or_else(|| Some(text("header", required?.unmet(&object(header)?)?)))
        });
        Some(Self { iss: text("iss"), aud: text("aud"), unmet })
    }
}

/// Cuts a text to a length that is suitable for the log.
pub(crate) fn bounded(text: &str) -> String {
    match text.char_indices().find(|(at, c)| at + c.len_utf8() > LOGGED_BYTES_MAX) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A length above that of the names of issuers and audiences.
const LOGGED_BYTES_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn received_claims_are_bounded_and_need_no_valid_token() {
        fn check(claims: &str, expect: Option<(Option<&str>, Option<&str>)>) {
            let token = format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims));
            let received = ReceivedClaims::of(Token::new(&token), &[]);
            let got = received.as_ref().map(|it| (it.iss.as_deref(), it.aud.as_deref()));
            assert_eq!(got, expect, "{claims}");
        }
        check(r#"{"iss":"a","aud":"b"}"#, Some((Some("a"), Some("b"))));
        check(r#"{"iss":7,"aud":["b","c"]}"#, Some((Some("7"), Some(r#"["b","c"]"#))));
        check("{}", Some((None, None)));
        check(r#"{"iss":"a","iss":"b"}"#, None);
        check("no JSON", None);
        for token in ["", "opaque", "a.b", "a.b.c.d", "e30.%.x"] {
            assert_eq!(ReceivedClaims::of(Token::new(token), &[]), None, "{token}");
        }
        assert_eq!(bounded(&"x".repeat(200)), "x".repeat(200));
        assert_eq!(bounded(&"x".repeat(201)), format!("{}...", "x".repeat(200)));
        assert_eq!(bounded(&format!("x{}", "\u{e9}".repeat(100))).len(), 199 + 3);
    }
}
