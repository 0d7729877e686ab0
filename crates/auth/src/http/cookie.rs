//! The refresh token in a cookie. Scripts can't read it, and only pages of configured origins may
//! use it. A browser sends it to every port of a host and from every page of a site, so the
//! `Origin` header decides.

use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, header};
use portcullis_core::REFRESH_COOKIE;

/// Returns the token in the cookie, if there is one.
pub fn token(headers: &HeaderMap) -> Option<String> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == REFRESH_COOKIE).then_some(value)
    });
    let first = pairs.next()?;
    // A second cookie of this name may come from an attacker, so both are rejected.
    pairs.next().is_none().then(|| first.to_owned())
}

/// Returns `Err` if the requesting page may not use the cookie.
pub fn check_origin(headers: &HeaderMap, origins: &[String]) -> Result<(), Problem> {
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let known = origin.is_some_and(|origin| origins.iter().any(|own| own == origin));
    if known { Ok(()) } else { Err(Problem::CrossSiteDenied) }
}

/// Returns the header value that sets the cookie for `seconds`. With 0 it deletes the cookie.
pub fn set(token: &str, seconds: u64) -> HeaderValue {
    let field = format!(
        "{REFRESH_COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}"
    );
    HeaderValue::try_from(field).unwrap_or(HeaderValue::from_static(""))
}
