//! The endpoints of the console for sessions.

use super::action::Action;
use super::audit::shown_event;
use super::lists::{Id, NoMembers, acted, cut, page, parse_id, take_page};
use super::state::{ConsoleState, SharedConsole};
use crate::clock::now;
use crate::db::{AuditSearch, ListPlace, ListedSession, SessionSearch};
use crate::http::AppState;
use crate::http::query::Query;
use crate::problem::Problem;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new()
        .route("/sessions", get(list))
        .route("/sessions/{id}", get(one))
        .route("/sessions/{id}/end", post(end))
}

/// A session of a list, and when the edge last saw it, if the store knows.
pub struct SeenSession {
    listed: ListedSession,
    seen_at: Option<u64>,
}

/// Searches sessions, newest first.
async fn list(State(state): SharedConsole, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut query = Query::parse(query)?;
    let (after, limit) = take_page(&mut query)?;
    let active = match query.take("state")?.as_deref() {
        None | Some("") => None,
        Some("active") => Some(true),
        Some("ended") => Some(false),
        Some(_) => return Err(Problem::QueryInvalid("state is unknown; give active or ended")),
    };
    let search = SessionSearch {
        text: query.take_text("q")?,
        user_id: query.take_text("user")?,
        active,
        after,
        limit: limit + 1,
        now: now(),
        idle_seconds: state.idle_seconds(),
        ..SessionSearch::default()
    };
    query.finish()?;
    let app = Arc::clone(&state.app);
    let work = async move { search_sessions(&app, &search).await };
    let mut sessions = state.app.run("console_sessions", work).await?;
    let next = cut(&mut sessions, limit, |SeenSession { listed, .. }| {
        ListPlace { at: listed.session.created_at, id: listed.session.id.clone() }.cursor()
    });
    Ok(page(sessions.iter().map(shown_session).collect(), next))
}

/// Returns a session with its newest refreshes and events.
async fn one(State(state): SharedConsole, id: Id) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::SessionUnknown)?;
    let console = Arc::clone(&state);
    let work = async move {
        let app = &console.app;
        let session = found(&console, &id).await?;
        let events = AuditSearch {
            session_id: Some(id.clone()),
            limit: EVENTS_MAX,
            ..AuditSearch::default()
        };
        let events = app.db.search_audit(&events).await?;
        let refreshes = app.db.refreshes_of(&id).await?;
        let mut shown = shown_session(&session);
        if let Some(members) = shown.as_object_mut() {
            let entries = refreshes.iter().map(
                |entry| json!({ "at": entry.at, "spent_at": entry.spent_at, "scope": entry.scope }),
            );
            members.insert("refresh_count".to_owned(), json!(session.listed.refreshes));
            members.insert("refreshes".to_owned(), entries.collect());
            members.insert("events".to_owned(), events.iter().map(shown_event).collect());
        }
        Ok(shown)
    };
    Ok(Json(state.app.run("console_session", work).await?).into_response())
}

/// Ends a session.
async fn end(
    State(state): SharedConsole,
    id: Id,
    action: Action<NoMembers>,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::SessionUnknown)?;
    let console = Arc::clone(&state);
    let work = async move {
        let delivery = console.app.sessions.end_session(&id, &action.client, now()).await?;
        let session = found(&console, &id).await?;
        Ok((json!({ "session": shown_session(&session) }), delivery))
    };
    let (session, delivery) = state.app.run("console_session_ended", work).await?;
    Ok(acted(session, delivery, StatusCode::OK))
}

async fn found(state: &ConsoleState, id: &str) -> Result<SeenSession, Problem> {
    let search = SessionSearch {
        id: Some(id.to_owned()),
        limit: 1,
        now: now(),
        idle_seconds: state.idle_seconds(),
        ..SessionSearch::default()
    };
    search_sessions(&state.app, &search).await?.pop().ok_or(Problem::SessionUnknown)
}

/// Returns the sessions of a search. The first [`SEEN_MAX`] active ones have the time when the edge
/// last saw them, unless the store is slow or down.
pub async fn search_sessions(
    app: &AppState,
    search: &SessionSearch,
) -> Result<Vec<SeenSession>, Problem> {
    let found = app.db.search_sessions(search).await?;
    let active = found.iter().filter(|listed| listed.ended_at.is_none());
    let ids: Vec<&str> = active.take(SEEN_MAX).map(|listed| listed.session.id.as_str()).collect();
    let seen = tokio::time::timeout(SEEN_TIMEOUT, app.sessions.publisher().last_seen(&ids)).await;
    let mut seen = seen.unwrap_or_default().into_iter();
    let sessions = found.into_iter().map(|listed| {
        let seen_at = if listed.ended_at.is_none() { seen.next().flatten() } else { None };
        SeenSession { listed, seen_at }
    });
    Ok(sessions.collect())
}

/// Returns a session as JSON.
pub fn shown_session(seen: &SeenSession) -> Value {
    let (listed, session) = (&seen.listed, &seen.listed.session);
    json!({
        "id": session.id,
        "user_id": session.user_id,
        "username": listed.username,
        "client_id": session.client_id,
        "scope": session.scope,
        "created_at": session.created_at,
        "seen_at": seen.seen_at.unwrap_or(0).max(session.refreshed_at),
        "refreshed_at": session.refreshed_at,
        "expires_at": session.expires_at,
        "ended_at": listed.ended_at,
        "ended_why": listed.ended_why,
        "device": session.device,
        "address": session.address,
        "country": listed.country,
        "refreshes": listed.refreshes,
    })
}

/// The sessions of a list for which the store is asked.
const SEEN_MAX: usize = 200;
/// How long a list waits for the store. Without it, a session was last seen at its last refresh.
const SEEN_TIMEOUT: Duration = Duration::from_millis(250);
/// The events of a session that are shown.
const EVENTS_MAX: u32 = 100;
