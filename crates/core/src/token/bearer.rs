//! The bearer token of a request.

use crate::policy::route::Route;
use crate::refusal::Denial;
use crate::request::head::RequestHead;
use crate::token_hash::TokenHash;
use std::fmt;

/// A raw access token. It must never be written to the store or the log; [`Token::hash`] may be.
#[derive(Clone, Copy)]
pub struct Token<'a> {
    text: &'a str,
    place: Place,
}

/// The place of a request's token.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Place {
    /// The `Authorization` field, which takes every token.
    Authorization,
    /// The route's cookie, which takes no API key: browsers do not have any.
    Cookie,
    /// The route's field for API keys, which takes nothing else.
    KeyField,
}

impl<'a> Token<'a> {
    /// Reads the request's one token from `Authorization: Bearer` (RFC 6750 section 2.1), from the
    /// route's cookie, or from its field for API keys. Query and form are never read (RFC 9700
    /// section 4.3.2).
    ///
    /// # Errors
    ///
    /// [`Denial::TokenMissing`] without a credential. [`Denial::CredentialMalformed`] for two, or
    /// for one of another form or of more than 8,192 bytes. [`Denial::CrossSiteDenied`] for a
    /// cookie that another site's page sends along.
    pub fn from_head(head: &RequestHead<'a>, route: &Route) -> Result<Self, Denial> {
        Self::if_present(head, route)?.ok_or(Denial::TokenMissing)
    }

    /// Reads the request's one token as [`Token::from_head`] does. Returns `None` if there is
    /// no `Authorization` field, no cookie and no API key of the route.
    ///
    /// # Errors
    ///
    /// Those of [`Token::from_head`]. A field of another scheme is [`Denial::TokenMissing`].
    pub fn if_present(head: &RequestHead<'a>, route: &Route) -> Result<Option<Self>, Denial> {
        let cookie = match &route.cookie {
            Some(name) => cookie(head, name)?,
            None => None,
        };
        let key = route.api_key_header.as_ref().and_then(|name| head.header(name));
        match (head.header("authorization"), cookie, key) {
            (None, None, None) => Ok(None),
            (Some(field), None, None) => Self::from_authorization(field).map(Some),
            (None, Some(value), None) => {
                if may_change_state(head) && !is_own_site(head, route) {
                    return Err(Denial::CrossSiteDenied);
                }
                Self::from_text(value, Place::Cookie).map(Some)
            }
            (None, None, Some(key)) => Self::from_text(key, Place::KeyField).map(Some),
            (_, _, _) => Err(Denial::CredentialMalformed),
        }
    }

    fn from_authorization(field: &'a str) -> Result<Self, Denial> {
        let (scheme, token) = field.split_once(' ').unwrap_or((field, ""));
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Denial::TokenMissing);
        }
        Self::from_text(token.trim_matches(' '), Place::Authorization)
    }

    fn from_text(text: &'a str, place: Place) -> Result<Self, Denial> {
        if text.is_empty() || text.len() > TOKEN_BYTES_MAX || !is_b64token(text) {
            return Err(Denial::CredentialMalformed);
        }
        Ok(Self { text, place })
    }

    /// Returns the token's SHA-256.
    pub fn hash(self) -> TokenHash {
        TokenHash::of(self.text)
    }

    /// Returns whether a token of this kind may come in the place where this one was.
    pub(crate) fn may_be(self, is_api_key: bool) -> bool {
        self.place != if is_api_key { Place::Cookie } else { Place::KeyField }
    }

    /// Returns the raw text, to be parsed or hashed.
    pub(crate) fn expose(self) -> &'a str {
        self.text
    }

    /// Creates a token from a text, without checking it.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, place: Place::Authorization }
    }
}

impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(REDACTED)")
    }
}

/// Returns the value of the cookie `name`. Rejects two cookies of that name, as two credentials.
fn cookie<'a>(head: &RequestHead<'a>, name: &str) -> Result<Option<&'a str>, Denial> {
    let field = head.header("cookie").unwrap_or_default();
    let pairs = field.split(';').filter_map(|pair| pair.trim_matches(' ').split_once('='));
    let mut named = pairs.filter(|(own, _)| *own == name).map(|(_, value)| value);
    match (named.next(), named.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Denial::CredentialMalformed),
    }
}

/// Returns whether a request may change state: by its method (RFC 9110 section 9.2.1), or by
/// opening a WebSocket, which browsers let any page do with its user's cookies.
fn may_change_state(head: &RequestHead<'_>) -> bool {
    !matches!(head.method(), "GET" | "HEAD" | "OPTIONS") || head.header("upgrade").is_some()
}

/// Returns whether the request comes from a page of this host, or of an origin that the route's
/// CORS policy lists with credentials. Browsers send cookies with the requests of foreign pages,
/// too.
fn is_own_site(head: &RequestHead<'_>, route: &Route) -> bool {
    match head.header("origin") {
        Some(origin) => {
            let own = origin.strip_prefix(head.scheme()).and_then(|rest| rest.strip_prefix("://"));
            own.is_some_and(|host| host.eq_ignore_ascii_case(head.host()))
                || route.cors.as_ref().is_some_and(|cors| cors.credentials && cors.lists(origin))
        }
        None => head.header("sec-fetch-site") == Some("same-origin"),
    }
}

/// Returns whether `text` is a b64token of RFC 6750, which excludes a second credential after a
/// comma.
fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/".contains(&b))
}

/// A length above that of issuers' tokens. Cloudflare limits all header fields together to 128 KB.
const TOKEN_BYTES_MAX: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::cors::Cors;
    use crate::policy::fixtures::route;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn read(method: &str, headers: Vec<(&str, &str)>, route: &Route) -> Result<String, Denial> {
        let head = RequestHead::new(method, "https://a.example/", headers);
        Token::from_head(&head, route).map(|token| token.text.to_owned())
    }

    #[test]
    fn bearer_token_is_read_from_the_authorization_header() {
        let route = route();
        let check = |value: Option<&str>, expect: Result<&str, Denial>| {
            let headers = value.map(|value| ("authorization", value)).into_iter().collect();
            let got = read("POST", headers, &route);
            assert_eq!(got.as_deref().map_err(|e| *e), expect, "{value:?}");
        };
        check(Some("Bearer abc.def-_~+/=="), Ok("abc.def-_~+/=="));
        check(Some("bearer abc"), Ok("abc"));
        check(Some("BEARER  abc "), Ok("abc"));
        check(None, Err(Denial::TokenMissing));
        check(Some(""), Err(Denial::TokenMissing));
        check(Some("Basic dTpw"), Err(Denial::TokenMissing));
        check(Some("Bearerabc"), Err(Denial::TokenMissing));
        check(Some("Bearer"), Err(Denial::CredentialMalformed));
        check(Some("Bearer "), Err(Denial::CredentialMalformed));
        check(Some("Bearer a b"), Err(Denial::CredentialMalformed));
        check(Some("Bearer a, Bearer b"), Err(Denial::CredentialMalformed));
        check(Some("Bearer =="), Err(Denial::CredentialMalformed));
        check(Some("Bearer a=b"), Err(Denial::CredentialMalformed));
        check(Some("Bearer a\u{e9}"), Err(Denial::CredentialMalformed));
        let longest = "a".repeat(TOKEN_BYTES_MAX);
        check(Some(&format!("Bearer {longest}")), Ok(&longest));
        check(Some(&format!("Bearer {longest}a")), Err(Denial::CredentialMalformed));
    }

    #[test]
    fn token_is_read_from_the_routes_cookie_only() {
        let mut route = route();
        let check = |route: &Route, cookie: &str, expect: Result<&str, Denial>| {
            let got = read("GET", vec![("cookie", cookie)], route);
            assert_eq!(got.as_deref().map_err(|e| *e), expect, "{cookie}");
        };
        let route = &mut route;
        check(route, "token=abc", Err(Denial::TokenMissing));
        route.cookie = Some("token".into());
        check(route, "token=abc", Ok("abc"));
        check(route, "a=1;token=abc; b=2", Ok("abc"));
        check(route, "Token=abc; xtoken=x", Err(Denial::TokenMissing));
        check(route, "", Err(Denial::TokenMissing));
        check(route, "token=", Err(Denial::CredentialMalformed));
        check(route, "token=\"abc\"", Err(Denial::CredentialMalformed));
        check(route, "token=abc, b=2", Err(Denial::CredentialMalformed));
        check(route, "token=abc; token=abc", Err(Denial::CredentialMalformed));
        for authorization in ["Bearer abc", "Basic dTpw", ""] {
            let headers = vec![("cookie", "token=abc"), ("authorization", authorization)];
            assert_eq!(read("GET", headers, route), Err(Denial::CredentialMalformed));
        }
    }

    #[test]
    fn cookie_is_refused_for_state_changes_by_another_site() {
        let mut route = route();
        route.cookie = Some("token".into());
        let mut check = |method: &str, field: (&str, &str), cors: Option<Cors>, expect: bool| {
            route.cors = cors;
            let headers = vec![("cookie", "token=abc"), field];
            let expect = if expect { Ok("abc".to_owned()) } else { Err(Denial::CrossSiteDenied) };
            assert_eq!(read(method, headers, &route), expect, "{method} {field:?}");
        };
        let cors = |origin: &str| Cors { origins: vec![origin.to_owned()], ..Cors::default() };
        let without = || Some(cors("https://app.example"));
        let app = || without().map(|cors| Cors { credentials: true, ..cors });
        check("POST", ("origin", "https://a.example"), None, true);
        check("POST", ("origin", "http://a.example"), None, false);
        check("POST", ("origin", "https://a.example.evil.example"), None, false);
        check("POST", ("origin", "https://a.example:444"), None, false);
        check("POST", ("origin", "https://app.example"), None, false);
        check("POST", ("origin", "https://app.example"), app(), true);
        check("POST", ("origin", "https://app.example"), without(), false);
        check("POST", ("origin", "https://evil.example"), Some(cors("*")), false);
        check("POST", ("origin", "null"), app(), false);
        check("POST", ("origin", ""), app(), false);
        check("POST", ("x", "y"), app(), false);
        check("POST", ("sec-fetch-site", "same-origin"), None, true);
        check("DELETE", ("sec-fetch-site", "same-site"), None, false);
        check("DELETE", ("sec-fetch-site", "none"), None, false);
        check("GET", ("origin", "https://evil.example"), None, true);
        check("HEAD", ("x", "y"), None, true);
        check("GET", ("upgrade", "websocket"), None, false);
        check("get", ("x", "y"), None, false);
    }

    #[test]
    fn api_key_is_read_from_the_routes_field() {
        let mut route = route();
        let key = ("x-api-key", "pck_live_abc");
        assert_eq!(read("GET", vec![key], &route), Err(Denial::TokenMissing));
        route.api_key_header = Some("x-api-key".into());
        route.cookie = Some("token".into());
        assert_eq!(read("POST", vec![key], &route).as_deref(), Ok("pck_live_abc"));
        for text in ["", "a b", "a, b", "Bearer a", "a\u{e9}"] {
            let fields = vec![("x-api-key", text)];
            assert_eq!(read("GET", fields, &route), Err(Denial::CredentialMalformed), "{text}");
        }
        for other in [("authorization", "Bearer abc"), ("cookie", "token=abc")] {
            let fields = vec![key, other];
            assert_eq!(read("GET", fields, &route), Err(Denial::CredentialMalformed), "{other:?}");
        }
        let may_be = |fields: Vec<(&str, &str)>| {
            let head = RequestHead::new("GET", "https://a.example/", fields);
            let token = Token::from_head(&head, &route).unwrap();
            [true, false].map(|is_api_key| token.may_be(is_api_key))
        };
        assert_eq!(may_be(vec![key]), [true, false]);
        assert_eq!(may_be(vec![("authorization", "Bearer abc")]), [true, true]);
        assert_eq!(may_be(vec![("cookie", "token=abc")]), [false, true]);
    }

    #[test]
    fn token_is_redacted_when_formatted() {
        assert_eq!(format!("{:?}", Token::new("secret")), "Token(REDACTED)");
        assert_eq!(TokenHash::of("abc").to_string(), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
    }
}
