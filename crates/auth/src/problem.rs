//! The errors of requests. Only this module turns a [`Problem`] into a response: a handler returns
//! one, and [`finish`] writes its body, which contains the request's id.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// The reason why a request fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Problem {
    AccessTokenInvalid,
    /// A block, a quota or credits are invalid. The text says what, and the fix.
    AdjustmentInvalid(&'static str),
    BlockUnknown,
    BlocksTooMany,
    ApiKeyEnded,
    ApiKeyNotAccepted,
    ApiKeyRolledTooOften,
    ApiKeyUnknown,
    ApiKeysOverMax,
    BodyTooLarge,
    BodyTooSlow,
    ClientInvalid,
    ClientMismatch,
    ClientRolledTooOften,
    ClientUnknown,
    CredentialsInvalid,
    CredentialsMissing,
    CreditIdReused,
    CreditsOutOfRange,
    CrossSiteDenied,
    DatabaseUnavailable,
    GrantTypeUnsupported,
    Internal,
    LoginThrottled {
        /// The time until the next attempt is accepted.
        seconds: u64,
    },
    MediaTypeUnsupported,
    /// A member of the body is out of its bounds; the text says which one, and how it should be.
    MemberInvalid(&'static str),
    MethodNotAllowed,
    NotFound,
    Overloaded,
    OwnerUnknown,
    PasswordUnacceptable,
    QuotaUnknown,
    /// A parameter of the query is invalid. The text says which, and how to mend it.
    QueryInvalid(&'static str),
    RefreshTokenInvalid,
    RefreshTokenReused,
    RequestMalformed,
    ScopeInsufficient,
    ScopeInvalid,
    SessionEnded,
    SessionUnknown,
    UserUnknown,
    WritesThrottled {
        /// The time until the next change is accepted.
        seconds: u64,
    },
}

impl Problem {
    /// Returns the status, the stable code and a description.
    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::AccessTokenInvalid => (
                StatusCode::UNAUTHORIZED,
                "access_token_invalid",
                "the access token is invalid, or its session has ended",
            ),
            Self::AdjustmentInvalid(detail) => {
                (StatusCode::BAD_REQUEST, "adjustment_invalid", detail)
            }
            Self::ApiKeyEnded => (
                StatusCode::CONFLICT,
                "api_key_ended",
                "the API key is revoked or has expired; create another",
            ),
            Self::ApiKeyNotAccepted => (
                StatusCode::UNAUTHORIZED,
                "api_key_not_accepted",
                "the auth service takes no API keys; send an access token",
            ),
            Self::ApiKeyRolledTooOften => (
                StatusCode::CONFLICT,
                "api_key_rolled_too_often",
                "the API key was rolled 100 times within 8 days; wait, or create another",
            ),
            Self::ApiKeyUnknown => {
                (StatusCode::NOT_FOUND, "api_key_unknown", "no API key of yours has this id")
            }
            Self::ApiKeysOverMax => (
                StatusCode::CONFLICT,
                "api_keys_over_max",
                "the owner has as many API keys as API_KEYS_PER_OWNER_MAX allows; revoke one",
            ),
            Self::BlockUnknown => {
                (StatusCode::NOT_FOUND, "block_unknown", "no block has this target; list them")
            }
            Self::BlocksTooMany => (
                StatusCode::CONFLICT,
                "blocks_too_many",
                "1000 addresses and networks are blocked; clear some, or block a larger network",
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
                "the client is unknown, or its secret or assertion is wrong",
            ),
            Self::ClientRolledTooOften => (
                StatusCode::CONFLICT,
                "client_rolled_too_often",
                "8 secrets of the client work; wait until a grace ends, or roll without a grace",
            ),
            Self::ClientMismatch => (
                StatusCode::BAD_REQUEST,
                "client_mismatch",
                "the token was issued to another client",
            ),
            Self::ClientUnknown => {
                (StatusCode::NOT_FOUND, "client_unknown", "no client has this id")
            }
            Self::CredentialsInvalid => {
                (StatusCode::UNAUTHORIZED, "credentials_invalid", "username or password is wrong")
            }
            Self::CredentialsMissing => (
                StatusCode::UNAUTHORIZED,
                "credentials_missing",
                "no token; send a refresh token in the body or its cookie, or a Bearer token",
            ),
            Self::CreditIdReused => (
                StatusCode::CONFLICT,
                "credit_id_reused",
                "another grant of credits has this id; give each grant an id of its own",
            ),
            Self::CreditsOutOfRange => (
                StatusCode::CONFLICT,
                "credits_out_of_range",
                "the sum of the caller's credits would be below 0 or above 10^12",
            ),
            Self::CrossSiteDenied => (
                StatusCode::FORBIDDEN,
                "cross_site_denied",
                "pages of this origin may not use the refresh cookie",
            ),
            Self::DatabaseUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "database_unavailable",
                "the database does not respond; retry later",
            ),
            Self::GrantTypeUnsupported => (
                StatusCode::BAD_REQUEST,
                "grant_type_unsupported",
                "the grant type is unsupported; use refresh_token or client_credentials",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "the auth service failed; see its log",
            ),
            Self::LoginThrottled { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "login_throttled",
                "too many login attempts; wait as long as Retry-After says",
            ),
            Self::MediaTypeUnsupported => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media_type_unsupported",
                "the media type is unsupported; send application/json",
            ),
            Self::MemberInvalid(problem) => (StatusCode::BAD_REQUEST, "member_invalid", problem),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this endpoint does not allow the method; see Allow",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "no endpoint has this path"),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "overloaded",
                "too many logins at once; retry later",
            ),
            Self::OwnerUnknown => {
                (StatusCode::BAD_REQUEST, "owner_unknown", "no enabled user or client has this id")
            }
            Self::PasswordUnacceptable => (
                StatusCode::BAD_REQUEST,
                "password_unacceptable",
                "the password must have at least 8 characters and at most 1024 bytes",
            ),
            Self::QuotaUnknown => (
                StatusCode::NOT_FOUND,
                "quota_unknown",
                "no other quota is set for this caller; list them",
            ),
            Self::QueryInvalid(detail) => (StatusCode::BAD_REQUEST, "query_invalid", detail),
            Self::RefreshTokenInvalid => (
                StatusCode::UNAUTHORIZED,
                "refresh_token_invalid",
                "the refresh token is unknown; log in again",
            ),
            Self::RefreshTokenReused => (
                StatusCode::UNAUTHORIZED,
                "refresh_token_reused",
                "the refresh token was used twice, so its session has ended; log in again",
            ),
            Self::RequestMalformed => (
                StatusCode::BAD_REQUEST,
                "request_malformed",
                "the body does not have the form that this endpoint requires",
            ),
            Self::ScopeInsufficient => (
                StatusCode::FORBIDDEN,
                "scope_insufficient",
                "the access token's scope does not allow this",
            ),
            Self::ScopeInvalid => (
                StatusCode::BAD_REQUEST,
                "scope_invalid",
                "the scope exceeds what was granted, or differs from the token's first refresh",
            ),
            Self::SessionEnded => {
                (StatusCode::UNAUTHORIZED, "session_ended", "the session has ended; log in again")
            }
            Self::SessionUnknown => {
                (StatusCode::NOT_FOUND, "session_unknown", "the user has no session with this id")
            }
            Self::UserUnknown => (StatusCode::NOT_FOUND, "user_unknown", "no user has this id"),
            Self::WritesThrottled { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "writes_throttled",
                "too many changes by this caller; wait as long as Retry-After says",
            ),
        }
    }

    /// Returns the stable code.
    pub fn code(self) -> &'static str {
        self.parts().1
    }

    /// Returns what is wrong.
    pub fn description(self) -> &'static str {
        self.parts().2
    }

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
            Self::BodyTooSlow | Self::RequestMalformed => (status, "invalid_request"),
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
            let challenge = HeaderValue::from_static("Basic realm=\"token\"");
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
                Self::ClientInvalid => "Basic realm=\"introspection\"",
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
        if let Self::LoginThrottled { seconds } | Self::WritesThrottled { seconds } = self {
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

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(event = "database_failed", %error);
        Self::DatabaseUnavailable
    }
}
