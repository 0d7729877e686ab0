//! Problems as responses. A handler returns a problem; [`finish`] writes its body, which contains
//! the request's id.

use super::Problem;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

impl Problem {
    /// Returns the error response of RFC 6749 section 5.2, for the OAuth endpoints.
    pub fn into_oauth_response(self) -> Response {
        Rejection { problem: self, format: Format::OAuth }.into_response()
    }

    fn oauth_response(self, request_id: &str) -> Response {
        let (status, code, description) = self.parts();
        let (status, error) = match self {
            Self::ClientMismatch
            | Self::RefreshTokenInvalid
            | Self::RefreshTokenReused
            | Self::SessionEnded => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::ClientInvalid => (status, "invalid_client"),
            Self::GrantTypeUnsupported => (status, "unsupported_grant_type"),
            Self::ScopeInvalid => (status, "invalid_scope"),
            Self::BodyTooLarge | Self::BodyTooSlow | Self::RequestMalformed => {
                (status, "invalid_request")
            }
            Self::DatabaseUnavailable | Self::Overloaded => (status, "temporarily_unavailable"),
            _ => (status, "server_error"),
        };
        let body = json!({
            "error": error,
            "error_description": description,
            "code": code,
            "request_id": request_id,
        });
        let mut response =
            (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"oauth\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// Returns the response of RFC 9457.
    fn problem_response(self, request_id: &str) -> Response {
        let (status, code, detail) = self.parts();
        let body = json!({
            "type": "about:blank",
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": detail,
            "code": code,
            "request_id": request_id,
        });
        let fields = [
            (header::CONTENT_TYPE, "application/problem+json"),
            (header::CACHE_CONTROL, "no-store"),
        ];
        let mut response = (status, fields, body.to_string()).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = match self {
                Self::AccessTokenInvalid | Self::ApiKeyNotAccepted => {
                    "Bearer error=\"invalid_token\""
                }
                Self::SessionMissing => "Cookie realm=\"console\"",
                _ => "Bearer",
            };
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }

    fn set_headers(self, response: &mut Response) {
        let status = response.status();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Self::LoginThrottled { seconds }
        | Self::SigningKeyTooNew { seconds }
        | Self::WritesThrottled { seconds } = self
        {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        // The rest of the body is not read.
        if matches!(self, Self::BodyTooLarge | Self::BodyTooSlow) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// A problem that [`finish`] will turn into a response.
#[derive(Clone, Copy)]
struct Rejection {
    problem: Problem,
    format: Format,
}

#[derive(Clone, Copy)]
enum Format {
    OAuth,
    Problem,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Rejection { problem: self, format: Format::Problem }.into_response()
    }
}

impl IntoResponse for Rejection {
    /// Returns a response without a body, because only [`finish`] knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.problem.parts().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of a handler's problem, if the response is one. Also returns its stable code.
pub fn finish(mut response: Response, request_id: &str) -> (Response, Option<&'static str>) {
    let Some(Rejection { problem, format }) = response.extensions_mut().remove() else {
        return (response, None);
    };
    let mut finished = match format {
        Format::OAuth => problem.oauth_response(request_id),
        Format::Problem => problem.problem_response(request_id),
    };
    problem.set_headers(&mut finished);
    // A router adds `Allow` to the handler's response.
    if let Some(allow) = response.headers_mut().remove(header::ALLOW) {
        finished.headers_mut().insert(header::ALLOW, allow);
    }
    (finished, Some(problem.code()))
}
