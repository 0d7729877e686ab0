//! The refresh token in a cookie, for pages: no script can read it, and only pages of known origins may use it. A
//! browser sends it to every port of a host and from every page of a site, so the `Origin` field decides.

use crate::problem::Problem;
use axum::http::{HeaderMap, HeaderValue, header};
use portcullis_core::REFRESH_COOKIE;

/// The token, where the request has its cookie.
pub fn token(headers: &HeaderMap) -> Option<String> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = fields.flat_map(|field| field.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == REFRESH_COOKIE).then_some(value)
    });
    let first = pairs.next()?;
    // Two are somebody's attempt to slip one in.
    pairs.next().is_none().then(|| first.to_owned())
}

/// Whether the page that asks may use the cookie.
pub fn check_origin(headers: &HeaderMap, origins: &[String]) -> Result<(), Problem> {
    let origin = headers.get(header::ORIGIN).and_then(|value| value.to_str().ok());
    let known = origin.is_some_and(|origin| origins.iter().any(|own| own == origin));
    if known { Ok(()) } else { Err(Problem::CrossSiteDenied) }
}

/// The field that sets the cookie for as long as the session may last; for no time, it takes it away.
pub fn set(token: &str, seconds: u64) -> HeaderValue {
    let field = format!(
        "{REFRESH_COOKIE}={token}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}"
    );
    HeaderValue::try_from(field).unwrap_or(HeaderValue::from_static(""))
}
