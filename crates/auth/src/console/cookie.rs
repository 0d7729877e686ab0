//! The cookie of a session in the console.

use axum::http::{HeaderMap, HeaderValue, header};
use portcullis_core::CONSOLE_COOKIE;

/// The name and the attributes of the cookie.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConsoleCookie {
    /// For an origin with https. Its prefix keeps other hosts and plain HTTP from setting it.
    Secure,
    /// For plain HTTP, on loopback.
    Plain,
}

impl ConsoleCookie {
    /// Returns the cookie of a console that browsers open at `origin`.
    pub fn of_origin(origin: &str) -> Self {
        if origin.starts_with("https://") { Self::Secure } else { Self::Plain }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Secure => CONSOLE_COOKIE,
            Self::Plain => "console",
        }
    }

    /// Returns the token in a request's cookie, if there is exactly one.
    pub fn token(self, headers: &HeaderMap) -> Option<&str> {
        let fields = headers.get_all(header::COOKIE).iter();
        // Cookies of other programs may have any bytes.
        let pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
        let mut values = pairs.filter_map(|pair| {
            let (name, value) = std::str::from_utf8(pair).ok()?.trim().split_once('=')?;
            (name == self.name()).then_some(value)
        });
        let first = values.next()?;
        // A second cookie of this name may come from an attacker, so both are rejected.
        values.next().is_none().then_some(first)
    }

    /// Returns the header value that sets the cookie for `seconds`. With 0 it deletes the cookie.
    pub fn set(self, token: &str, seconds: u64) -> HeaderValue {
        let (name, attributes) = match self {
            Self::Secure => (self.name(), "Path=/; Secure"),
            Self::Plain => (self.name(), "Path=/console"),
        };
        let field =
            format!("{name}={token}; {attributes}; HttpOnly; SameSite=Strict; Max-Age={seconds}");
        HeaderValue::try_from(field).unwrap_or(HeaderValue::from_static(""))
    }
}
