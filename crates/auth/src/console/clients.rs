//! The endpoints of the console for clients of the auth service.

use super::action::Action;
use super::lists::{Id, NoMembers, acted, cut, directory, page, parse_id, take_page};
use super::state::{ConsoleState, SharedConsole};
use crate::clients::{ClientEdit, OAuthClient};
use crate::clock::now;
use crate::db::ListPlace;
use crate::directory::GRACE_SECONDS;
use crate::directory::clients::NewClient;
use crate::http::RollBody;
use crate::http::query::Query;
use crate::outbox::Delivery;
use crate::problem::Problem;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new()
        .route("/clients", get(list).post(add))
        .route("/clients/{id}", get(one).patch(change).delete(delete))
        .route("/clients/{id}/roll", post(roll))
        .route("/clients/{id}/revoke-tokens", post(revoke_tokens))
}

/// Lists clients, oldest first.
async fn list(State(state): SharedConsole, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let mut query = Query::parse(query)?;
    let (after, limit) = take_page(&mut query)?;
    query.finish()?;
    let app = Arc::clone(&state.app);
    let work = async move { Ok(app.db.clients(after.as_ref(), limit + 1).await?) };
    let mut clients = state.app.run("console_clients", work).await?;
    let next = cut(&mut clients, limit, |client| {
        ListPlace { at: client.created_at, id: client.id.clone() }.cursor()
    });
    Ok(page(clients.iter().map(OAuthClient::shown).collect(), next))
}

/// Returns a client, and how many secrets of it work.
async fn one(State(state): SharedConsole, id: Id) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::ClientUnknown)?;
    let app = Arc::clone(&state.app);
    let work = async move {
        let client = app.db.client_by_id(&id).await?.ok_or(Problem::ClientUnknown)?;
        let secrets = app.db.client_secret_hashes(&id, now()).await?.len();
        let mut shown = client.shown();
        if let Some(members) = shown.as_object_mut() {
            members.insert("disabled_at".to_owned(), json!(client.disabled_at));
            members.insert("tokens_revoked_at".to_owned(), json!(client.tokens_revoked_at));
            members.insert("secrets".to_owned(), json!(secrets));
        }
        Ok(shown)
    };
    Ok(Json(state.app.run("console_client", work).await?).into_response())
}

/// Adds a client. The response is the only one that shows its secret.
async fn add(State(state): SharedConsole, action: Action<ClientEdit>) -> Result<Response, Problem> {
    if action.body.now || action.body.disabled.is_some() {
        return Err(Problem::MemberInvalid("a new client has no member now or disabled"));
    }
    let app = Arc::clone(&state.app);
    let work = async move { directory(&app, &action.client).add_client(&action.body).await };
    let NewClient { client, secret } = state.app.run("console_client_added", work).await?;
    let shown = with_secret(client.shown(), secret);
    Ok(acted(shown, Delivery::Done, StatusCode::CREATED))
}

/// Changes a client.
async fn change(
    State(state): SharedConsole,
    id: Id,
    action: Action<ClientEdit>,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::ClientUnknown)?;
    let app = Arc::clone(&state.app);
    let work =
        async move { directory(&app, &action.client).change_client(&id, &action.body).await };
    let (client, delivery) = state.app.run("console_client_changed", work).await?;
    Ok(acted(client.shown(), delivery, StatusCode::OK))
}

/// Gives a client a new secret. The response is the only one that shows it.
async fn roll(
    State(state): SharedConsole,
    id: Id,
    action: Action<RollBody>,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::ClientUnknown)?;
    let grace_seconds = action.body.grace_seconds.unwrap_or(GRACE_SECONDS);
    let app = Arc::clone(&state.app);
    let own = id.clone();
    let work = async move {
        directory(&app, &action.client).roll_client_secret(&own, grace_seconds).await
    };
    let secret = state.app.run("console_client_secret_rolled", work).await?;
    let shown = with_secret(json!({ "client_id": id }), Some(secret));
    Ok(acted(shown, Delivery::Done, StatusCode::OK))
}

/// Revokes the tokens that a client has.
async fn revoke_tokens(
    State(state): SharedConsole,
    id: Id,
    action: Action<NoMembers>,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::ClientUnknown)?;
    let app = Arc::clone(&state.app);
    let work = async move {
        let edit = ClientEdit { now: true, ..ClientEdit::default() };
        directory(&app, &action.client).change_client(&id, &edit).await
    };
    let (client, delivery) = state.app.run("console_client_tokens_revoked", work).await?;
    Ok(acted(client.shown(), delivery, StatusCode::OK))
}

/// Deletes a client.
async fn delete(
    State(state): SharedConsole,
    id: Id,
    action: Action<NoMembers>,
) -> Result<Response, Problem> {
    let id = parse_id(id, Problem::ClientUnknown)?;
    let app = Arc::clone(&state.app);
    let work = async move { directory(&app, &action.client).delete_client(&id).await };
    let delivery = state.app.run("console_client_deleted", work).await?;
    Ok(acted(json!({ "client": null }), delivery, StatusCode::OK))
}

/// Adds a secret, which no other response has.
fn with_secret(mut shown: Value, secret: Option<String>) -> Value {
    if let (Some(members), Some(secret)) = (shown.as_object_mut(), secret) {
        members.insert("client_secret".to_owned(), secret.into());
    }
    shown
}
