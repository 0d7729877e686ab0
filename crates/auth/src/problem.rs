//! The errors of requests. Only this module turns a [`Problem`] into a response: a handler returns
//! one, and [`response::finish`] writes its body, which contains the request's id.

pub mod response;

use axum::http::StatusCode;

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
    /// Another change came between the reading and this change, or between the check of a password
    /// and the login.
    ChangedMeanwhile,
    ClientInvalid,
    ClientMismatch,
    ClientRolledTooOften,
    ClientUnknown,
    CredentialsInvalid,
    CredentialsMissing,
    CreditIdReused,
    CreditsOutOfRange,
    CrossSiteDenied,
    CsrfInvalid,
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
    OriginForbidden,
    Overloaded,
    OwnerUnknown,
    PasswordUnacceptable,
    PolicyUnknown,
    PolicyUnreadable,
    QuotaUnknown,
    /// A parameter of the query is invalid. The text says which, and how to mend it.
    QueryInvalid(&'static str),
    ReasonMissing,
    RefreshTokenInvalid,
    RefreshTokenReused,
    RequestMalformed,
    ScopeInsufficient,
    ScopeInvalid,
    SessionEnded,
    /// A request to the console has no session there.
    SessionMissing,
    SessionUnknown,
    SigningKeyMissing,
    SigningKeyTooNew {
        /// The time until it can sign.
        seconds: u64,
    },
    StoreUnavailable,
    TokenNotAccepted,
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
            Self::ChangedMeanwhile => (
                StatusCode::CONFLICT,
                "changed_meanwhile",
                "it was changed meanwhile; read it again, then repeat the request",
            ),
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
            Self::CsrfInvalid => (
                StatusCode::FORBIDDEN,
                "csrf_invalid",
                "X-CSRF-Token is not that of this session; reload the page",
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
            Self::OriginForbidden => (
                StatusCode::FORBIDDEN,
                "origin_forbidden",
                "the request is not from a page of the console; open it at console.origin",
            ),
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
            Self::PolicyUnknown => (
                StatusCode::NOT_FOUND,
                "policy_unknown",
                "no edge has reported a policy with this hash within a week, or it is too large",
            ),
            Self::PolicyUnreadable => (
                StatusCode::CONFLICT,
                "policy_unreadable",
                "this version of the auth service can't read the policy; upgrade it",
            ),
            Self::QuotaUnknown => (
                StatusCode::NOT_FOUND,
                "quota_unknown",
                "no other quota is set for this caller; list them",
            ),
            Self::QueryInvalid(detail) => (StatusCode::BAD_REQUEST, "query_invalid", detail),
            Self::ReasonMissing => (
                StatusCode::BAD_REQUEST,
                "reason_missing",
                "reason must be a text of 1 to 200 characters without control characters",
            ),
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
                "the scope of the access token, or of the user, does not allow this",
            ),
            Self::ScopeInvalid => (
                StatusCode::BAD_REQUEST,
                "scope_invalid",
                "the scope exceeds what was granted, or differs from the token's first refresh",
            ),
            Self::SessionEnded => {
                (StatusCode::UNAUTHORIZED, "session_ended", "the session has ended; log in again")
            }
            Self::SessionMissing => (
                StatusCode::UNAUTHORIZED,
                "session_missing",
                "there is no session in the console, or it has ended; log in",
            ),
            Self::SessionUnknown => {
                (StatusCode::NOT_FOUND, "session_unknown", "the user has no session with this id")
            }
            Self::SigningKeyMissing => (
                StatusCode::CONFLICT,
                "signing_key_missing",
                "no next signing key exists yet; retry in 10 s",
            ),
            Self::SigningKeyTooNew { .. } => (
                StatusCode::CONFLICT,
                "signing_key_too_new",
                "verifiers may not know the next signing key yet; wait as long as Retry-After says",
            ),
            Self::StoreUnavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "the store does not respond; retry later",
            ),
            Self::TokenNotAccepted => (
                StatusCode::BAD_REQUEST,
                "token_not_accepted",
                "tokens and cookies are not accepted here; give the claims instead",
            ),
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
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(event = "database_failed", %error);
        Self::DatabaseUnavailable
    }
}
