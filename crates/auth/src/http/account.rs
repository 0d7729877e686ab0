//! The JSON endpoints of accounts: login, refresh, logout, password and sessions.

use super::extract::Client;
use super::headers::bearer;
use super::response::{RefreshTokenIn, no_store, revocation_response, token_response};
use super::state::SharedState;
use super::{body, cookie};
use crate::accounts::PASSWORD_BYTES_MAX;
use crate::clock::now;
use crate::outbox::Delivery;
use crate::problem::Problem;
use crate::sessions::NewPassword;
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
struct LoginBody {
    username: String,
    password: String,
    /// Whether to return the refresh token in a cookie.
    #[serde(default)]
    cookie: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefreshBody {
    refresh_token: Option<String>,
    scope: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogoutBody {
    refresh_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PasswordBody {
    old_password: String,
    new_password: String,
}

/// Begins a session.
pub async fn login(
    State(state): SharedState,
    Client(client): Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let LoginBody { username, password, cookie } = body::json(&headers, body).await?;
    if cookie {
        // Prevents other sites from logging a user in to an attacker's account.
        cookie::check_origin(&headers, &state.sessions.config().cookie_origins)?;
    }
    let app = Arc::clone(&state);
    let work = async move { app.sessions.login(&username, password, &client, now()).await };
    let tokens = state.run("login", work).await?;
    let refresh_token_in = if cookie { RefreshTokenIn::Cookie } else { RefreshTokenIn::Body };
    Ok(token_response(tokens, refresh_token_in))
}

/// Exchanges the refresh token in the body or the cookie.
pub async fn refresh(
    State(state): SharedState,
    Client(client): Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let RefreshBody { refresh_token, scope } = body::optional_json(&headers, body).await?;
    let (token, refresh_token_in) = match refresh_token {
        Some(token) => (token, RefreshTokenIn::Body),
        None => {
            let token = cookie::token(&headers).ok_or(Problem::CredentialsMissing)?;
            cookie::check_origin(&headers, &state.sessions.config().cookie_origins)?;
            (token, RefreshTokenIn::Cookie)
        }
    };
    let app = Arc::clone(&state);
    let work =
        async move { app.sessions.refresh(&token, scope.as_deref(), None, &client, now()).await };
    Ok(token_response(state.run("refresh", work).await?, refresh_token_in))
}

/// Ends the session of the refresh token in the body or the cookie, or else of the Bearer token.
pub async fn logout(
    State(state): SharedState,
    Client(client): Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let LogoutBody { refresh_token } = body::optional_json(&headers, body).await?;
    let bearer = bearer(&headers);
    let in_cookie = cookie::token(&headers).filter(|_| refresh_token.is_none());
    if in_cookie.is_some() && bearer.is_none() {
        cookie::check_origin(&headers, &state.sessions.config().cookie_origins)?;
    }
    // A page of another site has no Bearer token. Even with a Bearer token, a cookie is used only
    // if its page may use it.
    let in_cookie = in_cookie.filter(|_| {
        cookie::check_origin(&headers, &state.sessions.config().cookie_origins).is_ok()
    });
    let by_cookie = in_cookie.is_some();
    let app = Arc::clone(&state);
    let work = async move {
        match (refresh_token, in_cookie, bearer) {
            (Some(token), _, _) => app.sessions.logout(&token, &client, now()).await,
            (None, Some(token), bearer) => {
                let ended = app.sessions.logout(&token, &client, now()).await;
                match (ended, bearer) {
                    (Err(Problem::RefreshTokenInvalid), Some(token)) => {
                        app.sessions.logout_bearer(&token, &client, now()).await
                    }
                    // A cookie with an unknown token is deleted, too.
                    (Err(Problem::RefreshTokenInvalid), None) => Ok(Delivery::Done),
                    (ended, _) => ended,
                }
            }
            (None, None, Some(token)) => app.sessions.logout_bearer(&token, &client, now()).await,
            (None, None, None) => Err(Problem::CredentialsMissing),
        }
    };
    let mut response =
        revocation_response(state.run("logout", work).await?, StatusCode::NO_CONTENT);
    if by_cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie::set("", 0));
    }
    Ok(response)
}

/// Changes the password, and ends all other sessions.
pub async fn password(
    State(state): SharedState,
    Client(client): Client,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let token = bearer(&headers).ok_or(Problem::CredentialsMissing)?;
    let PasswordBody { old_password, new_password } = body::json(&headers, body).await?;
    if old_password.len() > PASSWORD_BYTES_MAX {
        return Err(Problem::CredentialsInvalid);
    }
    let app = Arc::clone(&state);
    let work = async move {
        let passwords = NewPassword { old: old_password, new: new_password };
        app.sessions.change_password(&token, passwords, &client, now()).await
    };
    Ok(revocation_response(state.run("password", work).await?, StatusCode::NO_CONTENT))
}

/// Returns the user's sessions.
pub async fn sessions(State(state): SharedState, headers: HeaderMap) -> Result<Response, Problem> {
    let token = bearer(&headers).ok_or(Problem::CredentialsMissing)?;
    let app = Arc::clone(&state);
    let work = async move { app.sessions.list(&token, now()).await };
    let sessions = state.run("sessions", work).await?;
    Ok((no_store(), Json(json!({ "sessions": sessions }))).into_response())
}

/// Ends all sessions of the user.
pub async fn end_all(
    State(state): SharedState,
    Client(client): Client,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let token = bearer(&headers).ok_or(Problem::CredentialsMissing)?;
    let app = Arc::clone(&state);
    let work = async move { app.sessions.logout_everywhere(&token, &client, now()).await };
    Ok(revocation_response(state.run("logout_everywhere", work).await?, StatusCode::NO_CONTENT))
}

/// Ends one session of the user.
pub async fn end_one(
    State(state): SharedState,
    Client(client): Client,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    // An id that is not UTF-8 belongs to no session.
    let Path(id) = id.map_err(|_| Problem::SessionUnknown)?;
    let token = bearer(&headers).ok_or(Problem::CredentialsMissing)?;
    let app = Arc::clone(&state);
    let work = async move { app.sessions.remove(&token, &id, &client, now()).await };
    Ok(revocation_response(state.run("session_removed", work).await?, StatusCode::NO_CONTENT))
}
