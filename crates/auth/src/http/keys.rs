//! The endpoints of API keys.

use super::body;
use super::caller::Caller;
use super::query::Query;
use super::response::{no_store, revocation_response};
use super::state::SharedState;
use crate::api_keys::{GRACE_SECONDS_DEFAULT, KeyList, Manager, SpecPatch, key_view};
use crate::clock::now;
use crate::db::Owner;
use crate::outbox::Delivery;
use crate::problem::Problem;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Id = Result<Path<String>, PathRejection>;

/// The body that replaces the secret of a key or a client.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollBody {
    pub grace_seconds: Option<u64>,
}

/// Creates a key. The response is the only one that shows it.
pub async fn create(
    State(state): SharedState,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let manager = manager(&caller)?;
    let mut members: Map<String, Value> = body::json(&headers, body).await?;
    let owner = match members.remove("owner") {
        None | Some(Value::Null) => None,
        Some(owner) => Some(parse_owner(owner.as_str().unwrap_or_default())?),
    };
    let patch = SpecPatch::new(members)?;
    let app = Arc::clone(&state);
    let work = async move {
        let now = now();
        let issued = app.api_keys.create(&manager, owner, patch, now).await?;
        Ok((issued.delivery, issued.view(now)))
    };
    let (delivery, view) = state.run("key_created", work).await?;
    Ok(changed(delivery, StatusCode::CREATED, view))
}

/// Returns a page of keys.
pub async fn list(
    State(state): SharedState,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let manager = manager(&caller)?;
    let mut query = Query::parse(query)?;
    let (after, limit) = query.take_page_by_time()?;
    let owner = query.take("owner")?;
    query.finish()?;
    let owner = owner.map(|owner| Owner::parse(&owner).ok_or(OWNER_INVALID)).transpose()?;
    let after = after.unwrap_or_default();
    let app = Arc::clone(&state);
    let work = async move {
        let now = now();
        let list = KeyList { owner: owner.as_ref(), text: None, after, limit };
        let (keys, next) = app.api_keys.list(&manager, list, now).await?;
        let keys: Vec<Value> = keys.iter().map(|state| key_view(state, now)).collect();
        Ok(json!({ "keys": keys, "next": next.map(|place| place.cursor()) }))
    };
    let page = state.run("keys", work).await?;
    Ok((no_store(), Json(page)).into_response())
}

/// Returns one key.
pub async fn get(State(state): SharedState, caller: Caller, id: Id) -> Result<Response, Problem> {
    let manager = manager(&caller)?;
    let id = parse_id(id)?;
    let app = Arc::clone(&state);
    let work = async move {
        let now = now();
        Ok(key_view(&app.api_keys.get(&manager, &id, now).await?, now))
    };
    let view = state.run("key", work).await?;
    Ok((no_store(), Json(view)).into_response())
}

/// Changes a key by a merge patch (RFC 7396).
pub async fn change(
    State(state): SharedState,
    caller: Caller,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let manager = manager(&caller)?;
    let id = parse_id(id)?;
    let patch = SpecPatch::new(body::merge_patch(&headers, body).await?)?;
    let app = Arc::clone(&state);
    let work = async move {
        let now = now();
        let (key, delivery) = app.api_keys.change(&manager, &id, patch, now).await?;
        Ok((delivery, key_view(&key, now)))
    };
    let (delivery, view) = state.run("key_changed", work).await?;
    Ok(changed(delivery, StatusCode::OK, view))
}

/// Revokes a key.
pub async fn revoke(
    State(state): SharedState,
    caller: Caller,
    id: Id,
) -> Result<Response, Problem> {
    let manager = manager(&caller)?;
    let id = parse_id(id)?;
    let app = Arc::clone(&state);
    let work = async move { app.api_keys.revoke(&manager, &id, now()).await };
    Ok(revocation_response(state.run("key_revoked", work).await?, StatusCode::NO_CONTENT))
}

/// Replaces a key's secret. The response is the only one that shows the new one.
pub async fn roll(
    State(state): SharedState,
    caller: Caller,
    id: Id,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let manager = manager(&caller)?;
    let id = parse_id(id)?;
    let RollBody { grace_seconds } = body::optional_json(&headers, body).await?;
    let grace_seconds = grace_seconds.unwrap_or(GRACE_SECONDS_DEFAULT);
    let app = Arc::clone(&state);
    let work = async move {
        let now = now();
        let issued = app.api_keys.roll(&manager, &id, grace_seconds, now).await?;
        Ok((issued.delivery, issued.view(now)))
    };
    let (delivery, view) = state.run("key_rolled", work).await?;
    Ok(changed(delivery, StatusCode::OK, view))
}

/// Returns the caller as a manager of its own keys, or of everyone's.
fn manager(caller: &Caller) -> Result<Manager, Problem> {
    let is_admin = caller.has("keys:admin");
    if !is_admin {
        caller.require("keys:manage")?;
    }
    Ok(Manager::of_token(&caller.claims, &caller.client, is_admin))
}

/// Returns the response to a change: status `done` if the store has it, otherwise 202.
fn changed(delivery: Delivery, done: StatusCode, view: Value) -> Response {
    let status = match delivery {
        Delivery::Done => done,
        Delivery::Pending => StatusCode::ACCEPTED,
    };
    (status, no_store(), Json(view)).into_response()
}

const OWNER_INVALID: Problem = Problem::QueryInvalid("owner must be user:ID or client:ID");

fn parse_owner(text: &str) -> Result<Owner, Problem> {
    Owner::parse(text).ok_or(Problem::MemberInvalid("owner must be user:ID or client:ID"))
}

/// Reads an id. One that is not UTF-8 belongs to no key.
fn parse_id(id: Id) -> Result<String, Problem> {
    id.map(|Path(id)| id).map_err(|_| Problem::ApiKeyUnknown)
}
