//! Responses that several endpoints send.

use super::cookie;
use crate::outbox::Delivery;
use crate::sessions::{ClientToken, Tokens};
use axum::Json;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

/// Returns the headers that forbid caching.
pub fn no_store() -> [(HeaderName, &'static str); 1] {
    [(header::CACHE_CONTROL, "no-store")]
}

/// Returns the response to a revocation: status `done` if the store has executed it, otherwise 202.
pub fn revocation_response(delivery: Delivery, done: StatusCode) -> Response {
    match delivery {
        Delivery::Done => (done, no_store()).into_response(),
        Delivery::Pending => {
            let body = json!({ "pending": "revoked; the write to the store is retried" });
            (StatusCode::ACCEPTED, no_store(), Json(body)).into_response()
        }
    }
}

/// Returns the response to a change: 200 if the store has it, otherwise 202. Both show the result.
pub fn changed_response(shown: &Value, delivery: Delivery) -> Response {
    let status = match delivery {
        Delivery::Done => StatusCode::OK,
        Delivery::Pending => StatusCode::ACCEPTED,
    };
    (status, no_store(), Json(shown)).into_response()
}

/// Returns the response to the creation of something.
pub fn created_response(shown: &Value) -> Response {
    (StatusCode::CREATED, no_store(), Json(shown)).into_response()
}

/// Returns the token response of a client.
pub fn client_token_response(token: &ClientToken) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
    (no_store, Json(token)).into_response()
}

/// Where a response carries the refresh token.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum RefreshTokenIn {
    Body,
    Cookie,
}

/// Returns a token response (RFC 6749 section 5.1).
pub fn token_response(tokens: Tokens, refresh_token_in: RefreshTokenIn) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
    if refresh_token_in == RefreshTokenIn::Body {
        return (no_store, Json(tokens)).into_response();
    }
    let body = json!({
        "access_token": tokens.access_token,
        "token_type": tokens.token_type,
        "expires_in": tokens.expires_in,
        "scope": tokens.scope,
    });
    let mut response = (no_store, Json(body)).into_response();
    let field = cookie::set(&tokens.refresh_token, tokens.session_seconds);
    response.headers_mut().insert(header::SET_COOKIE, field);
    response
}
