//! Request headers.

use crate::audit::ClientInfo;
use axum::http::{HeaderMap, header};

/// Returns the client of a request, according to the edge. Only the edge may reach this server.
pub fn client_info(headers: &HeaderMap) -> ClientInfo {
    let country = text(headers, "portcullis-country", 2);
    let is_country = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
    ClientInfo {
        address: text(headers, "x-forwarded-for", 45),
        device: text(headers, "user-agent", 256),
        country: is_country.then_some(country),
        request_id: text(headers, "x-request-id", 64),
    }
}

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
