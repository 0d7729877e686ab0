//! The endpoints of a session: login, who is logged in, and logout.

use super::console_sessions::{IDLE_SECONDS, csrf_token};
use super::extract::Reader;
use super::operator::Operator;
use super::state::{ConsoleState, SharedConsole};
use crate::audit::{Actor, ClientInfo, Event, EventKind};
use crate::clock::now;
use crate::http::body;
use crate::problem::Problem;
use crate::scope::ConsoleAccess;
use crate::token::OpaqueToken;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new().route("/session", get(session).post(login).delete(logout))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginBody {
    username: String,
    password: String,
}

/// Begins a session.
async fn login(State(state): SharedConsole, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let LoginBody { username, password } = body::json(&parts.headers, body).await?;
    let client = state.app.clients.console_client_info(&parts);
    let old = state.cookie.token(&parts.headers).map(str::to_owned);
    let old = old.filter(|token| OpaqueToken::Console.is_well_formed(token));
    let console = Arc::clone(&state);
    let work = async move {
        let app = &console.app;
        let failed = EventKind::ConsoleLoginFailed;
        let verified = app.sessions.verify_login(&username, password, &client, failed, now());
        let verified = verified.await?;
        let Some(access) = ConsoleAccess::of(&verified.user.scope) else {
            deny(&console, &verified.user.id, &client).await?;
            return Err(Problem::ScopeInsufficient);
        };
        let begun = console.sessions.begin(&verified, old.as_deref(), &client, now()).await?;
        app.sessions.audit().record(&begun.events);
        Ok((verified.user.username, access, begun))
    };
    let (username, access, begun) = state.app.run("console_login", work).await?;
    let shown = shown(&username, access == ConsoleAccess::Act, &begun.token, begun.ends_at);
    let cookie = state.cookie.set(&begun.token, state.sessions.session_seconds());
    Ok(([(header::SET_COOKIE, cookie)], Json(shown)).into_response())
}

/// Audits a login of a user who may not use the console.
async fn deny(state: &ConsoleState, user: &str, client: &ClientInfo) -> Result<(), Problem> {
    let event = Event::new(EventKind::ConsoleLoginFailed, Actor::User, client);
    let events = [event.user(user).detail("the scope has neither console:read nor console:act")];
    state.app.db.record_events(&events, now()).await?;
    state.app.sessions.audit().record(&events);
    Ok(())
}

/// Returns the session of the request.
async fn session(
    State(state): SharedConsole,
    Reader(operator): Reader,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let token = state.cookie.token(&headers).ok_or(Problem::SessionMissing)?;
    let Operator { username, may_act, ends_at, .. } = operator;
    Ok(Json(shown(&username, may_act, token, ends_at)).into_response())
}

/// Ends the session.
async fn logout(
    State(state): SharedConsole,
    Reader(operator): Reader,
) -> Result<Response, Problem> {
    let console = Arc::clone(&state);
    let work = async move {
        let events = console.sessions.end(&operator, now()).await?;
        console.app.sessions.audit().record(&events);
        Ok(())
    };
    state.app.run("console_logout", work).await?;
    let cookie = state.cookie.set("", 0);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

fn shown(username: &str, may_act: bool, token: &str, ends_at: u64) -> Value {
    let scope: &[&str] = match may_act {
        true => &[ConsoleAccess::READ, ConsoleAccess::ACT],
        false => &[ConsoleAccess::READ],
    };
    json!({
        "username": username,
        "scope": scope,
        "may_act": may_act,
        "csrf": csrf_token(token),
        "ends_at": ends_at,
        "idle_seconds": IDLE_SECONDS,
    })
}
