//! The refresh token in a request to a token or revocation endpoint.

use crate::json;
use crate::request::cookie::REFRESH_COOKIE;
use crate::request::form::parameter;
use crate::request::head::RequestHead;
use serde_json::Value;

/// A refresh token that a request presents.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Presented {
    pub(super) token: String,
    pub(super) place: Place,
}

/// The part of a request that holds a refresh token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    Cookie,
    Form,
    Json,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Cookie => "cookie",
            Self::Form => "form",
            Self::Json => "json",
        }
    }
}

/// The purpose of a form, which decides which parameter holds the token.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// RFC 6749 section 6.
    Grant,
    /// RFC 7009 section 2.1.
    Revocation,
}

impl Presented {
    /// Returns the refresh token in a form, a JSON member or the cookie. Returns `None` if there is
    /// none, or if a form has another grant type.
    pub(super) fn find(head: &RequestHead<'_>, body: &str, purpose: Purpose) -> Option<Self> {
        if head.method() != "POST" {
            return None;
        }
        let media_type = head.header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let in_body = if media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let name = match purpose {
                Purpose::Grant if parameter(body, "grant_type")? != "refresh_token" => return None,
                Purpose::Grant => "refresh_token",
                Purpose::Revocation => "token",
            };
            // A form is never combined with the cookie.
            return Some(Self { token: parameter(body, name)?, place: Place::Form });
        } else if media_type.eq_ignore_ascii_case("application/json") {
            let members = json::object(body.as_bytes())?;
            match members.get("refresh_token") {
                Some(Value::Null) | None => None,
                Some(token) => Some(token.as_str()?.to_owned()),
            }
        } else if body.is_empty() {
            None
        } else {
            return None;
        };
        match in_body {
            Some(token) => Some(Self { token, place: Place::Json }),
            None => {
                let field = head.header("cookie")?;
                let mut pairs = field.split(';').filter_map(|pair| pair.trim().split_once('='));
                let (_, token) = pairs.find(|(name, _)| *name == REFRESH_COOKIE)?;
                Some(Self { token: token.to_owned(), place: Place::Cookie })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const FORM: &str = "application/x-www-form-urlencoded";
    const JSON: &str = "application/json";

    fn presented(head: &RequestHead<'_>, body: &str) -> Option<Presented> {
        Presented::find(head, body, Purpose::Grant)
    }

    fn head<'a>(media_type: &'a str, more: &[(&'a str, &'a str)]) -> RequestHead<'a> {
        let mut fields = vec![("content-type", media_type)];
        fields.extend_from_slice(more);
        RequestHead::new("POST", "https://a.example/oauth/token", fields)
    }

    #[test]
    fn refresh_token_is_found_in_a_form_json_or_the_cookie() {
        let check = |media_type: &str, body: &str, expect: Option<&str>| {
            let found = presented(&head(media_type, &[]), body).map(|presented| presented.token);
            assert_eq!(found.as_deref(), expect, "{body}");
        };
        check(FORM, "grant_type=refresh_token&refresh_token=x", Some("x"));
        check(FORM, "refresh_token=a%2Bb+c&grant%5ftype=refresh%5Ftoken", Some("a+b c"));
        check(
            "Application/X-WWW-Form-Urlencoded; charset=utf-8",
            "grant_type=refresh_token&refresh_token=x",
            Some("x"),
        );
        for other in [
            "grant_type=authorization_code&refresh_token=x",
            "refresh_token=x",
            "grant_type=refresh_token",
            "grant_type=refresh_token&refresh_token=",
            "grant_type=refresh_token&refresh_token=x&refresh_token=y",
            "grant_type=refresh_token&grant_type=refresh_token&refresh_token=x",
            "grant_type=refresh_token&refresh_token=%zz",
            "grant_type=refresh_token&refresh_token=%f",
            "grant_type=refresh_token&refresh_token=%ff",
            "",
        ] {
            check(FORM, other, None);
        }
        check(JSON, r#"{"refresh_token":"x"}"#, Some("x"));
        for other in [
            r#"{"refresh_token":1}"#,
            r#"{"refresh_token":"x","refresh_token":"x"}"#,
            "[]",
            "{",
            "{}",
            "",
        ] {
            check(JSON, other, None);
        }
        check("text/plain", r#"{"refresh_token":"x"}"#, None);
        let cookie = ("cookie", "a=b; __Host-portcullis-refresh=x; c=d");
        let by_cookie = |media_type: &str, body: &str| {
            let head = if media_type.is_empty() {
                RequestHead::new("POST", "https://a.example/auth/refresh", vec![cookie])
            } else {
                head(media_type, &[cookie])
            };
            presented(&head, body)
        };
        let found = |token: &str, place| Some(Presented { token: token.into(), place });
        assert_eq!(by_cookie("", ""), found("x", Place::Cookie));
        for none in ["{}", r#"{"refresh_token":null}"#] {
            assert_eq!(by_cookie(JSON, none), found("x", Place::Cookie));
        }
        assert_eq!(by_cookie(JSON, r#"{"refresh_token":"y"}"#), found("y", Place::Json));
        assert_eq!(by_cookie(FORM, ""), None);
        let get = RequestHead::new("GET", "https://a.example/oauth/token", vec![cookie]);
        assert_eq!(presented(&get, ""), None);
    }
}
