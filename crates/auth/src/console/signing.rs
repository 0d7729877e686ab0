//! The endpoints of the console for the signing keys.

use super::action::Action;
use super::lists::{NoMembers, acted};
use super::state::{ConsoleState, SharedConsole};
use crate::audit::{Actor, Event, EventKind};
use crate::clock::now;
use crate::db::KeyRow;
use crate::http::AppState;
use crate::outbox::Delivery;
use crate::problem::Problem;
use crate::signing_keys::{PUBLISH_SECONDS, RotateError, key_role, rotate, verifies_until};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use portcullis_core::UnixSeconds;
use serde_json::{Value, json};
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new().route("/signing-keys", get(list)).route("/signing-keys/rotate", post(rotate_now))
}

/// Lists the signing keys, and the names of the keys that encrypt the store's records.
async fn list(State(state): SharedConsole) -> Result<Response, Problem> {
    let app = Arc::clone(&state.app);
    let work = async move { Ok(shown(&app, &app.db.signing_keys().await?, now())) };
    Ok(Json(state.app.run("console_signing_keys", work).await?).into_response())
}

/// Lets the next key sign from now on.
async fn rotate_now(
    State(state): SharedConsole,
    action: Action<NoMembers>,
) -> Result<Response, Problem> {
    let app = Arc::clone(&state.app);
    let work = async move {
        let now = now();
        let event = Event::new(EventKind::KeyRotated, Actor::Operator, &action.client);
        let current = rotate(&app.db, event.clone(), now).await.map_err(|error| match error {
            RotateError::Database(error) => Problem::from(error),
            RotateError::NoNextKey => Problem::SigningKeyMissing,
            RotateError::TooNew { seconds } => Problem::SigningKeyTooNew { seconds },
        })?;
        app.sessions.audit().record(&[event.detail(current.kid)]);
        // Other processes load the keys within seconds.
        if let Err(error) = app.sessions.keys().maintain(now).await {
            tracing::warn!(event = "signing_keys_not_loaded", %error);
        }
        Ok(shown(&app, &app.db.signing_keys().await?, now))
    };
    let keys = state.app.run("console_signing_keys_rotated", work).await?;
    Ok(acted(keys, Delivery::Done, StatusCode::OK))
}

fn shown(app: &AppState, rows: &[KeyRow], now: UnixSeconds) -> Value {
    let keys = rows.iter().rev().map(|row| {
        json!({
            "kid": row.kid,
            "algorithm": row.algorithm,
            "state": key_role(row, rows, now).name(),
            "created_at": row.created_at,
            "active_from": row.active_from,
            "may_sign_from": row.created_at.saturating_add(PUBLISH_SECONDS),
            "ends_at": verifies_until(row, rows),
        })
    });
    let mut ids = app.sessions.config().seal.iter().flat_map(|seal| seal.ids());
    let (current, previous) = (ids.next(), ids.next());
    json!({
        "keys": keys.collect::<Vec<Value>>(),
        "record_encryption": { "current": current, "previous": previous },
    })
}
