//! The endpoints of the console for users.

use super::action::Action;
use super::audit::shown_event;
use super::lists::{Id, NoMembers, acted, cursor, cut, directory, page, parse_id, take_page_by};
use super::sessions::{search_sessions, shown_session};
use super::state::{ConsoleState, SharedConsole};
use crate::api_keys::{KeyList, Manager, key_view};
use crate::clock::now;
use crate::db::{AuditSearch, ListedUser, NamePlace, Owner, SessionSearch, UserSearch};
use crate::directory::users::{UserEdit, shown_user};
use crate::http::query::Query;
use crate::problem::Problem;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis_core::TokenHash;
use serde_json::{Value, json};
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new()
        .route("/users", get(list))
        .route("/users/{id}", get(one).delete(delete))
        .route("/users/{id}/disable", post(disable))
        .route("/users/{id}/enable", post(enable))
        .route("/users/{id}/sessions/end", post(end_sessions))
        .route("/users/{id}/claims", post(change))
}

/// Searches users, in the order of their names.
async fn list(State(state): SharedConsole, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut query = Query::parse(query)?;
    let (after, limit) = take_page_by::<(String, String)>(&mut query)?;
    let disabled = match query.take("state")?.as_deref() {
        None | Some("") => None,
        Some("active") => Some(false),
        Some("disabled") => Some(true),
        Some(_) => return Err(Problem::QueryInvalid("state is unknown; give active or disabled")),
    };
    let search = UserSearch {
        prefix: query.take_text("q")?,
        disabled,
        after: after.map(|(name, id)| NamePlace { name, id }).filter(|after| !has_nul(after)),
        limit: limit + 1,
        now: now(),
        idle_seconds: state.idle_seconds(),
    };
    query.finish()?;
    let app = Arc::clone(&state.app);
    let work = async move { Ok(app.db.search_users(&search).await?) };
    let mut users = state.app.run("console_users", work).await?;
    let next = cut(&mut users, limit, |user| user.place.clone());
    let next = next.map(|NamePlace { name, id }| cursor(&(name, id))).transpose()?;
    Ok(page(users.iter().map(shown).collect(), next))
}

/// Returns a user with sessions, API keys, unusual events and countries.
async fn one(State(state): SharedConsole, id: Id) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::UserUnknown)?;
    let console = Arc::clone(&state);
    let work = async move {
        let (app, now, idle_seconds) = (&console.app, now(), console.idle_seconds());
        let user = app.db.user_in_list(&id, now, idle_seconds).await?;
        let user = user.ok_or(Problem::UserUnknown)?;
        let sessions = SessionSearch {
            user_id: Some(id.clone()),
            live_first: true,
            limit: ENTRIES_MAX,
            now,
            idle_seconds,
            ..SessionSearch::default()
        };
        let sessions = search_sessions(app, &sessions).await?;
        let (manager, owner) = (Manager::operator(), Owner::user(&id));
        let list = KeyList { owner: Some(&owner), limit: ENTRIES_MAX, ..KeyList::default() };
        let (keys, _) = app.api_keys.list(&manager, list, now).await?;
        let unusual = AuditSearch {
            user: Some(id.clone()),
            events: UNUSUAL.map(str::to_owned).to_vec(),
            limit: ENTRIES_MAX,
            ..AuditSearch::default()
        };
        let mut unusual = app.db.search_audit(&unusual).await?;
        // A failed login has a hash of the name instead of the user.
        let failed = AuditSearch {
            events: FAILED_LOGINS.map(str::to_owned).to_vec(),
            detail: Some(TokenHash::of(&user.user.username).to_string()),
            limit: ENTRIES_MAX,
            ..AuditSearch::default()
        };
        unusual.extend(app.db.search_audit(&failed).await?);
        unusual.sort_by(|one, other| (other.at, &other.id).cmp(&(one.at, &one.id)));
        cut(&mut unusual, ENTRIES_MAX, |_| ());
        let countries = app.db.user_countries(&id).await?;
        let countries = countries.iter().map(|(country, first_seen_at)| {
            json!({ "country": country, "first_seen_at": first_seen_at })
        });
        let mut shown = shown(&user);
        if let Some(members) = shown.as_object_mut() {
            let keys = keys.iter().map(|state| key_view(state, now));
            for (name, entries) in [
                ("active_sessions", json!(user.sessions)),
                ("sessions", sessions.iter().map(shown_session).collect()),
                ("keys", keys.collect()),
                ("unusual", unusual.iter().map(shown_event).collect()),
                ("countries", countries.collect()),
            ] {
                members.insert(name.to_owned(), entries);
            }
        }
        Ok(shown)
    };
    Ok(Json(state.app.run("console_user", work).await?).into_response())
}

async fn disable(
    state: SharedConsole,
    id: Id,
    action: Action<NoMembers>,
) -> Result<Response, Problem> {
    set_disabled(state, id, action, true).await
}

async fn enable(
    state: SharedConsole,
    id: Id,
    action: Action<NoMembers>,
) -> Result<Response, Problem> {
    set_disabled(state, id, action, false).await
}

async fn set_disabled(
    State(state): SharedConsole,
    id: Id,
    action: Action<NoMembers>,
    disabled: bool,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::UserUnknown)?;
    let console = Arc::clone(&state);
    let work = async move {
        let directory = directory(&console.app, &action.client);
        let (_, delivery) = directory.set_user_disabled(&id, disabled).await?;
        Ok((changed(&console, &id).await?, delivery))
    };
    let name = if disabled { "console_user_disabled" } else { "console_user_enabled" };
    let (user, delivery) = state.app.run(name, work).await?;
    Ok(acted(user, delivery, StatusCode::OK))
}

/// Ends all sessions of a user.
async fn end_sessions(
    State(state): SharedConsole,
    id: Id,
    action: Action<NoMembers>,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::UserUnknown)?;
    let console = Arc::clone(&state);
    let work = async move {
        let app = &console.app;
        app.db.listed_user(&id).await?.ok_or(Problem::UserUnknown)?;
        let delivery = app.sessions.end_sessions_of(&id, &action.client, now()).await?;
        Ok((changed(&console, &id).await?, delivery))
    };
    let (user, delivery) = state.app.run("console_user_sessions_ended", work).await?;
    Ok(acted(user, delivery, StatusCode::OK))
}

/// Changes scope and claims of a user.
async fn change(
    State(state): SharedConsole,
    id: Id,
    action: Action<UserEdit>,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::UserUnknown)?;
    let console = Arc::clone(&state);
    let work = async move {
        let directory = directory(&console.app, &action.client);
        let (_, delivery) = directory.change_user(&id, &action.body).await?;
        Ok((changed(&console, &id).await?, delivery))
    };
    let (user, delivery) = state.app.run("console_user_changed", work).await?;
    Ok(acted(user, delivery, StatusCode::OK))
}

/// Deletes a user.
async fn delete(
    State(state): SharedConsole,
    id: Id,
    action: Action<NoMembers>,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::UserUnknown)?;
    let app = Arc::clone(&state.app);
    let work = async move { directory(&app, &action.client).delete_user(&id).await };
    let delivery = state.app.run("console_user_deleted", work).await?;
    Ok(acted(json!({ "user": null }), delivery, StatusCode::OK))
}

/// Returns the user of a response to an action.
async fn changed(state: &ConsoleState, id: &str) -> Result<Value, Problem> {
    let user = state.app.db.user_in_list(id, now(), state.idle_seconds()).await?;
    Ok(json!({ "user": user.as_ref().map(shown) }))
}

fn shown(listed: &ListedUser) -> Value {
    let mut shown = shown_user(&listed.user);
    if let Some(members) = shown.as_object_mut() {
        for (name, value) in [
            ("disabled_at", json!(listed.disabled_at)),
            ("sessions", json!(listed.sessions)),
            ("last_seen_at", json!(listed.last_seen_at)),
        ] {
            members.insert(name.to_owned(), value);
        }
    }
    shown
}

/// Returns whether a place has a NUL, which Postgres rejects and no name has.
fn has_nul(place: &NamePlace) -> bool {
    place.name.contains('\0') || place.id.contains('\0')
}

/// The sessions, keys and events of a user that are shown.
const ENTRIES_MAX: u32 = 100;
/// The events of a user that may be part of an attack.
const UNUSUAL: [&str; 5] = [
    "console_login_failed",
    "country_new",
    "refresh_burst",
    "refresh_token_reused",
    "sessions_over_max",
];
const FAILED_LOGINS: [&str; 2] = ["console_login_failed", "login_failed"];
