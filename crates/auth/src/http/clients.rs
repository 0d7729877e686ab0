//! The endpoints by which callers with the scope `clients:admin` manage clients.

use super::body;
use super::caller::Caller;
use super::keys::RollBody;
use super::query::Query;
use super::response::{changed_response, created_response, no_store, revocation_response};
use super::state::{AppState, SharedState};
use crate::audit::Actor;
use crate::clients::{ClientEdit, OAuthClient};
use crate::clock::now;
use crate::db::ListPlace;
use crate::directory::clients::NewClient;
use crate::directory::{By, Directory, GRACE_SECONDS};
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

/// Adds a client.
pub async fn add(
    State(state): SharedState,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let settings: ClientEdit = body::json(&headers, body).await?;
    if settings.now || settings.disabled.is_some() {
        return Err(Problem::MemberInvalid("a new client has no member now or disabled"));
    }
    let app = Arc::clone(&state);
    let work = async move { directory(&app, &caller).add_client(&settings).await };
    let NewClient { client, secret } = state.run("client_added", work).await?;
    Ok(created_response(&with_secret(client.shown(), secret)))
}

/// Lists clients.
pub async fn list(
    State(state): SharedState,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let mut query = Query::parse(query)?;
    let (after, limit) = query.take_page_by_time()?;
    query.finish()?;
    let app = Arc::clone(&state);
    let work = async move { Ok(app.db.clients(after.as_ref(), limit).await?) };
    let clients = state.run("clients", work).await?;
    let is_full = clients.len() == limit as usize;
    let last = clients.last().filter(|_| is_full);
    let next = last.map(|last| ListPlace { at: last.created_at, id: last.id.clone() }.cursor());
    let clients: Vec<Value> = clients.iter().map(OAuthClient::shown).collect();
    Ok((no_store(), Json(json!({ "clients": clients, "next": next }))).into_response())
}

/// Returns one client.
pub async fn get(State(state): SharedState, caller: Caller, id: Id) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let id = client_id(id)?;
    let app = Arc::clone(&state);
    let work = async move { directory(&app, &caller).client(&id).await };
    let client = state.run("client", work).await?;
    Ok((no_store(), Json(client.shown())).into_response())
}

/// Changes a client.
pub async fn change(
    State(state): SharedState,
    caller: Caller,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let id = client_id(id)?;
    let edit: ClientEdit = body::merge_patch(&headers, body).await?;
    let app = Arc::clone(&state);
    let work = async move { directory(&app, &caller).change_client(&id, &edit).await };
    let (client, delivery) = state.run("client_changed", work).await?;
    Ok(changed_response(&client.shown(), delivery))
}

/// Gives a client a new secret.
pub async fn roll(
    State(state): SharedState,
    caller: Caller,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let id = client_id(id)?;
    let RollBody { grace_seconds } = body::optional_json(&headers, body).await?;
    let grace_seconds = grace_seconds.unwrap_or(GRACE_SECONDS);
    let app = Arc::clone(&state);
    let own = id.clone();
    let work =
        async move { directory(&app, &caller).roll_client_secret(&own, grace_seconds).await };
    let secret = state.run("client_secret_rolled", work).await?;
    Ok(created_response(&with_secret(json!({ "client_id": id }), Some(secret))))
}

/// Deletes a client.
pub async fn delete(
    State(state): SharedState,
    caller: Caller,
    id: Id,
) -> Result<Response, Problem> {
    caller.require(SCOPE)?;
    let id = client_id(id)?;
    let app = Arc::clone(&state);
    let work = async move { directory(&app, &caller).delete_client(&id).await };
    Ok(revocation_response(state.run("client_deleted", work).await?, StatusCode::NO_CONTENT))
}

/// Returns clients and users, for a change by this caller.
pub(super) fn directory<'a>(app: &'a AppState, caller: &'a Caller) -> Directory<'a> {
    Directory {
        db: &app.db,
        publisher: app.sessions.publisher(),
        audit: Some(app.sessions.audit()),
        by: By {
            actor: if caller.claims.sid.is_some() { Actor::User } else { Actor::Client },
            subject: Some(&caller.claims.sub),
            client: &caller.client,
        },
        now: now(),
    }
}

/// Adds the secret of a new client, which no other response has.
fn with_secret(mut shown: Value, secret: Option<String>) -> Value {
    if let (Some(members), Some(secret)) = (shown.as_object_mut(), secret) {
        members.insert("client_secret".to_owned(), secret.into());
    }
    shown
}

/// Returns the id in a path. One that is not UTF-8 belongs to no client.
fn client_id(id: Id) -> Result<String, Problem> {
    id.map(|Path(id)| id).map_err(|_| Problem::ClientUnknown)
}

const SCOPE: &str = "clients:admin";
