//! The endpoints by which callers with the scope `users:admin` manage users.

use super::body;
use super::caller::Caller;
use super::clients::directory;
use super::query::Query;
use super::response::{changed_response, no_store, revocation_response};
use super::state::SharedState;
use crate::db::ListPlace;
use crate::directory::users::{UserEdit, shown_user};
use crate::problem::Problem;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use std::sync::Arc;

type Id = Result<Path<String>, PathRejection>;

/// Lists users, or the one with a name.
pub async fn list(
    State(state): SharedState,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let mut query = Query::parse(query)?;
    let (after, limit) = query.take_page_by_time()?;
    let username = query.take("username")?;
    query.finish()?;
    let is_list = username.is_none();
    let app = Arc::clone(&state);
    let work = async move {
        match username {
            // Postgres rejects a NUL in a query, and usernames can't contain one.
            Some(username) if username.contains('\0') => Ok(Vec::new()),
            Some(username) => Ok(app.db.user_by_name(&username).await?.into_iter().collect()),
            None => Ok(app.db.users(after.as_ref(), limit).await?),
        }
    };
    let users = state.run("users", work).await?;
    let is_full = is_list && users.len() == limit as usize;
    let last = users.last().filter(|_| is_full);
    let next = last.map(|last| ListPlace { at: last.created_at, id: last.id.clone() }.cursor());
    let users: Vec<Value> = users.iter().map(shown_user).collect();
    Ok((no_store(), Json(json!({ "users": users, "next": next }))).into_response())
}

/// Returns one user.
pub async fn get(State(state): SharedState, caller: Caller, id: Id) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let id = user_id(id)?;
    let app = Arc::clone(&state);
    let work = async move { directory(&app, &caller).user(&id).await };
    let user = state.run("user", work).await?;
    Ok((no_store(), Json(shown_user(&user))).into_response())
}

/// Changes scope and claims of a user.
pub async fn change(
    State(state): SharedState,
    caller: Caller,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let id = user_id(id)?;
    let edit: UserEdit = body::merge_patch(&headers, body).await?;
    let app = Arc::clone(&state);
    let work = async move { directory(&app, &caller).change_user(&id, &edit).await };
    let (user, delivery) = state.run("user_changed", work).await?;
    Ok(changed_response(&shown_user(&user), delivery))
}

/// Deletes a user.
pub async fn delete(
    State(state): SharedState,
    caller: Caller,
    id: Id,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let id = user_id(id)?;
    let app = Arc::clone(&state);
    let work = async move { directory(&app, &caller).delete_user(&id).await };
    Ok(revocation_response(state.run("user_deleted", work).await?, StatusCode::NO_CONTENT))
}

/// Returns the id in a path. One that is not UTF-8 belongs to no user.
fn user_id(id: Id) -> Result<String, Problem> {
    id.map(|Path(id)| id).map_err(|_| Problem::UserUnknown)
}

const SCOPE: &str = "users:admin";
