//! Request headers.

use axum::http::{HeaderMap, header};

/// Returns the first `max` characters of a header, or an empty text if it is not visible ASCII.
pub fn text(headers: &HeaderMap, name: &str, max: usize) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.chars().take(max).collect()
}

/// Returns the token of an `Authorization: Bearer` header.
pub fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}
