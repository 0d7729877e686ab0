//! The endpoints of the console for API keys.

use super::action::Action;
use super::lists::{Id, NoMembers, acted, page, parse_id, take_page};
use super::state::{ConsoleState, SharedConsole};
use crate::api_keys::{GRACE_SECONDS_DEFAULT, KeyList, Manager, SpecPatch, key_view};
use crate::clock::now;
use crate::db::Owner;
use crate::http::RollBody;
use crate::http::query::Query;
use crate::problem::Problem;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new()
        .route("/keys", get(list).post(create))
        .route("/keys/{id}", get(one).patch(change))
        .route("/keys/{id}/roll", post(roll))
        .route("/keys/{id}/revoke", post(revoke))
}

/// Searches the keys that are not revoked, oldest first.
async fn list(State(state): SharedConsole, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut query = Query::parse(query)?;
    let (after, limit) = take_page(&mut query)?;
    let (owner, text) = (query.take_text("owner")?, query.take_text("q")?);
    query.finish()?;
    let owner = match owner {
        Some(owner) => Some(Owner::parse(&owner).ok_or(Problem::QueryInvalid(OWNER))?),
        None => None,
    };
    let app = Arc::clone(&state.app);
    let work = async move {
        let (now, after) = (now(), after.unwrap_or_default());
        let list = KeyList { owner: owner.as_ref(), text: text.as_deref(), after, limit };
        let (keys, next) = app.api_keys.list(&Manager::operator(), list, now).await?;
        let keys: Vec<Value> = keys.iter().map(|state| key_view(state, now)).collect();
        Ok((keys, next.map(|place| place.cursor())))
    };
    let (keys, next) = state.app.run("console_keys", work).await?;
    Ok(page(keys, next))
}

/// Returns a key, even a revoked one.
async fn one(State(state): SharedConsole, id: Id) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::ApiKeyUnknown)?;
    let app = Arc::clone(&state.app);
    let work = async move {
        let now = now();
        Ok(key_view(&app.api_keys.get(&Manager::operator(), &id, now).await?, now))
    };
    Ok(Json(state.app.run("console_key", work).await?).into_response())
}

/// Creates a key. The response is the only one that shows it.
async fn create(
    State(state): SharedConsole,
    action: Action<Map<String, Value>>,
) -> Result<Response, Problem> {
    let mut members = action.body;
    let owner = members.remove("owner").unwrap_or_default();
    let owner = Owner::parse(owner.as_str().unwrap_or_default());
    let owner = owner.ok_or(Problem::MemberInvalid(OWNER))?;
    let patch = SpecPatch::new(members)?;
    let app = Arc::clone(&state.app);
    let work = async move {
        let (now, manager) = (now(), Manager::console(&action.client));
        let issued = app.api_keys.create(&manager, Some(owner), patch, now).await?;
        Ok((issued.view(now), issued.delivery))
    };
    let (key, delivery) = state.app.run("console_key_created", work).await?;
    Ok(acted(key, delivery, StatusCode::CREATED))
}

/// Changes a key by a merge patch (RFC 7396).
async fn change(
    State(state): SharedConsole,
    id: Id,
    action: Action<Map<String, Value>>,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::ApiKeyUnknown)?;
    let patch = SpecPatch::new(action.body)?;
    let app = Arc::clone(&state.app);
    let work = async move {
        let (now, manager) = (now(), Manager::console(&action.client));
        let (key, delivery) = app.api_keys.change(&manager, &id, patch, now).await?;
        Ok((key_view(&key, now), delivery))
    };
    let (key, delivery) = state.app.run("console_key_changed", work).await?;
    Ok(acted(key, delivery, StatusCode::OK))
}

/// Replaces a key's secret. The response is the only one that shows the new one.
async fn roll(
    State(state): SharedConsole,
    id: Id,
    action: Action<RollBody>,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::ApiKeyUnknown)?;
    let grace_seconds = action.body.grace_seconds.unwrap_or(GRACE_SECONDS_DEFAULT);
    let app = Arc::clone(&state.app);
    let work = async move {
        let (now, manager) = (now(), Manager::console(&action.client));
        let issued = app.api_keys.roll(&manager, &id, grace_seconds, now).await?;
        Ok((issued.view(now), issued.delivery))
    };
    let (key, delivery) = state.app.run("console_key_rolled", work).await?;
    Ok(acted(key, delivery, StatusCode::OK))
}

/// Revokes a key.
async fn revoke(
    State(state): SharedConsole,
    id: Id,
    action: Action<NoMembers>,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::ApiKeyUnknown)?;
    let app = Arc::clone(&state.app);
    let work = async move {
        let (now, manager) = (now(), Manager::console(&action.client));
        let delivery = app.api_keys.revoke(&manager, &id, now).await?;
        Ok((key_view(&app.api_keys.get(&manager, &id, now).await?, now), delivery))
    };
    let (key, delivery) = state.app.run("console_key_revoked", work).await?;
    Ok(acted(key, delivery, StatusCode::OK))
}

const OWNER: &str = "owner must be user:ID or client:ID";
