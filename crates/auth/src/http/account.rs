//! What a user's client asks for: login, refresh, logout, password, sessions. JSON.

use super::{Shared, bearer, body, client_info, cookie, delivered};
use crate::accounts::PASSWORD_BYTES_MAX;
use crate::clock::now;
use crate::problem::Problem;
use crate::publish::Delivery;
use crate::session::Tokens;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    username: String,
    password: String,
    /// Whether the refresh token is to come in a cookie.
    #[serde(default)]
    cookie: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refresh {
    refresh_token: Option<String>,
    scope: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Logout {
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    old_password: String,
    new_password: String,
}

pub async fn login(
    State(auth): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Login { username, password, cookie } = body::json(&headers, body).await?;
    if cookie {
        // Nobody is to be logged in as somebody else by a page of a third.
        cookie::check_origin(&headers, &auth.sessions.config().cookie_origins)?;
    }
    // No name has a NUL, which Postgres would not take in a query.
    let nameless = username.len() > USERNAME_BYTES_MAX || username.contains('\0');
    if nameless || password.len() > PASSWORD_BYTES_MAX {
        return Err(Problem::CredentialsInvalid);
    }
    let (own, client) = (Arc::clone(&auth), client_info(&headers));
    let work = async move { own.sessions.login(&username, password, &client, now()).await };
    Ok(granted(auth.work("login", work).await?, cookie))
}

pub async fn refresh(
    State(auth): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Refresh { refresh_token, scope } = body::optional_json(&headers, body).await?;
    let (token, by_cookie) = match refresh_token {
        Some(token) => (token, false),
        None => {
            let token = cookie::token(&headers).ok_or(Problem::CredentialsMissing)?;
            cookie::check_origin(&headers, &auth.sessions.config().cookie_origins)?;
            (token, true)
        }
    };
    let (own, client) = (Arc::clone(&auth), client_info(&headers));
    let work =
        async move { own.sessions.refresh(&token, scope.as_deref(), None, &client, now()).await };
    Ok(granted(auth.work("refresh", work).await?, by_cookie))
}

/// Ends the session of the refresh token in the body or in its cookie, or else of the Bearer token.
pub async fn logout(
    State(auth): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Logout { refresh_token } = body::optional_json(&headers, body).await?;
    let (client, bearer) = (client_info(&headers), bearer(&headers));
    let in_cookie = cookie::token(&headers).filter(|_| refresh_token.is_none());
    if in_cookie.is_some() && bearer.is_none() {
        cookie::check_origin(&headers, &auth.sessions.config().cookie_origins)?;
    }
    // With a Bearer token, which no foreign page has, a cookie of ours goes only if its page may use it.
    let in_cookie = in_cookie
        .filter(|_| cookie::check_origin(&headers, &auth.sessions.config().cookie_origins).is_ok());
    let by_cookie = in_cookie.is_some();
    let own = Arc::clone(&auth);
    let work = async move {
        match (refresh_token, in_cookie, bearer) {
            (Some(token), _, _) => own.sessions.logout(&token, &client, now()).await,
            (None, Some(token), bearer) => {
                let ended = own.sessions.logout(&token, &client, now()).await;
                match (ended, bearer) {
                    (Err(Problem::RefreshTokenInvalid), Some(token)) => {
                        own.sessions.logout_bearer(&token, &client, now()).await
                    }
                    // A cookie that means nothing goes, too.
                    (Err(Problem::RefreshTokenInvalid), None) => Ok(Delivery::Done),
                    (ended, _) => ended,
                }
            }
            (None, None, Some(token)) => own.sessions.logout_bearer(&token, &client, now()).await,
            (None, None, None) => Err(Problem::CredentialsMissing),
        }
    };
    let mut response = delivered(auth.work("logout", work).await?, StatusCode::NO_CONTENT);
    if by_cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie::set("", 0));
    }
    Ok(response)
}

/// Changes the password, and ends all sessions but the one that asks.
pub async fn password(
    State(auth): Shared,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let token = bearer(&headers).ok_or(Problem::CredentialsMissing)?;
    let Password { old_password, new_password } = body::json(&headers, body).await?;
    if old_password.len() > PASSWORD_BYTES_MAX {
        return Err(Problem::CredentialsInvalid);
    }
    let (own, client) = (Arc::clone(&auth), client_info(&headers));
    let work = async move {
        own.sessions.change_password(&token, (old_password, new_password), &client, now()).await
    };
    Ok(delivered(auth.work("password", work).await?, StatusCode::NO_CONTENT))
}

/// The sessions of whoever asks.
pub async fn sessions(State(auth): Shared, headers: HeaderMap) -> Result<Response, Problem> {
    let token = bearer(&headers).ok_or(Problem::CredentialsMissing)?;
    let own = Arc::clone(&auth);
    let work = async move { own.sessions.list(&token, now()).await };
    let sessions = auth.work("sessions", work).await?;
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    Ok((no_store, Json(json!({ "sessions": sessions }))).into_response())
}

/// Ends all of them.
pub async fn end_all(State(auth): Shared, headers: HeaderMap) -> Result<Response, Problem> {
    let token = bearer(&headers).ok_or(Problem::CredentialsMissing)?;
    let (own, client) = (Arc::clone(&auth), client_info(&headers));
    let work = async move { own.sessions.logout_everywhere(&token, &client, now()).await };
    Ok(delivered(auth.work("logout_everywhere", work).await?, StatusCode::NO_CONTENT))
}

/// Ends one of them.
pub async fn end_one(
    State(auth): Shared,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // What is no text is no session's name.
    let Path(id) = id.map_err(|_| Problem::SessionUnknown)?;
    let token = bearer(&headers).ok_or(Problem::CredentialsMissing)?;
    let (own, client) = (Arc::clone(&auth), client_info(&headers));
    let work = async move { own.sessions.remove(&token, &id, &client, now()).await };
    Ok(delivered(auth.work("session_removed", work).await?, StatusCode::NO_CONTENT))
}

/// The answer that carries tokens (RFC 6749 section 5.1); the refresh token in it, or in a cookie.
pub fn granted(tokens: Tokens, by_cookie: bool) -> Response {
    let no_store = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
    if !by_cookie {
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

const USERNAME_BYTES_MAX: usize = 256;
