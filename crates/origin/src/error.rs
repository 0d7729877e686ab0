//! Why a request is not served, and the one place where that becomes an answer.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// Why a request is not served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Problem {
    AccessTokenInvalid,
    BodyTooLarge,
    BodyTooSlow,
    ClientInvalid,
    CredentialsInvalid,
    CredentialsMissing,
    DatabaseUnavailable,
    Internal,
    LoginCooling {
        /// Until the next attempt is looked at.
        seconds: u64,
    },
    MediaTypeUnsupported,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RefreshTokenInvalid,
    RefreshTokenReused,
    RequestMalformed,
    SessionEnded,
}

impl Problem {
    /// Status, stable code, and what it means.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::AccessTokenInvalid => (
                StatusCode::UNAUTHORIZED,
                "access_token_invalid",
                "the access token is not one of ours",
            ),
            Self::BodyTooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "the request body is too large")
            }
            Self::BodyTooSlow => {
                (StatusCode::REQUEST_TIMEOUT, "body_too_slow", "the request body came too slowly")
            }
            Self::ClientInvalid => (
                StatusCode::UNAUTHORIZED,
                "client_invalid",
                "the client is not known, or its secret is wrong",
            ),
            Self::CredentialsInvalid => {
                (StatusCode::UNAUTHORIZED, "credentials_invalid", "username or password is wrong")
            }
            Self::CredentialsMissing => (
                StatusCode::UNAUTHORIZED,
                "credentials_missing",
                "a refresh token in the body or a Bearer token is required",
            ),
            Self::DatabaseUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "database_unavailable",
                "the database does not answer",
            ),
            Self::Internal => {
                (StatusCode::INTERNAL_SERVER_ERROR, "internal", "something failed; see the log")
            }
            Self::LoginCooling { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "login_cooling",
                "too many attempts to log in; wait for a while",
            ),
            Self::MediaTypeUnsupported => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media_type_unsupported",
                "the body must be application/json",
            ),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "another method is required")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "there is no such endpoint"),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "too many logins at once; try again",
            ),
            Self::RefreshTokenInvalid => (
                StatusCode::UNAUTHORIZED,
                "refresh_token_invalid",
                "the refresh token is not known",
            ),
            Self::RefreshTokenReused => (
                StatusCode::UNAUTHORIZED,
                "refresh_token_reused",
                "the refresh token was used before; the session is over",
            ),
            Self::RequestMalformed => (
                StatusCode::BAD_REQUEST,
                "request_malformed",
                "the body is not what this endpoint takes",
            ),
            Self::SessionEnded => {
                (StatusCode::UNAUTHORIZED, "session_ended", "the session is over")
            }
        }
    }

    /// The stable code.
    pub fn code(self) -> &'static str {
        self.parts().1
    }

    /// The error code of RFC 6749 section 5.2, for the token endpoint.
    pub fn oauth(self) -> Response {
        let (status, code, description) = self.parts();
        let (status, error) = match self {
            Self::RefreshTokenInvalid | Self::RefreshTokenReused | Self::SessionEnded => {
                (StatusCode::BAD_REQUEST, "invalid_grant")
            }
            Self::BodyTooSlow | Self::RequestMalformed => (status, "invalid_request"),
            Self::DatabaseUnavailable | Self::Overloaded => (status, "temporarily_unavailable"),
            _ => (status, "server_error"),
        };
        let body = json!({ "error": error, "error_description": description, "code": code });
        (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, detail) = self.parts();
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": detail,
            "code": code,
        });
        let fields = [
            (header::CONTENT_TYPE, "application/problem+json"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        let mut response = (status, fields, body.to_string()).into_response();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Self::LoginCooling { seconds } = self {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if status == StatusCode::UNAUTHORIZED {
            let challenge = match self {
                Self::AccessTokenInvalid => "Bearer error=\"invalid_token\"",
                Self::ClientInvalid => "Basic realm=\"introspection\"",
                _ => "Bearer",
            };
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(event = "database_failed", %error);
        Self::DatabaseUnavailable
    }
}

impl From<crate::password::Overloaded> for Problem {
    fn from(_: crate::password::Overloaded) -> Self {
        Self::Overloaded
    }
}
