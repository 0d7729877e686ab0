//! The routes of both listeners.

use super::state::AppState;
use super::{account, blocks, clients, keys, limits, log, metrics, oauth, usage, users};
use crate::problem::Problem;
use axum::Router;
use axum::middleware;
use axum::routing::{delete, get, post};
use std::sync::Arc;

/// Returns the routes for the edge and its clients.
pub fn public_router(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/auth/login", post(account::login))
        .route("/auth/refresh", post(account::refresh))
        .route("/auth/logout", post(account::logout))
        .route("/auth/password", post(account::password))
        .route("/auth/sessions", get(account::sessions).delete(account::end_all))
        .route("/auth/sessions/{id}", delete(account::end_one))
        .route("/auth/blocks", get(blocks::list).post(blocks::set).delete(blocks::clear))
        .route("/auth/limits", get(limits::list).put(limits::set).delete(limits::clear))
        .route("/auth/limits/credits", get(limits::list_credits).post(limits::add_credits))
        .route("/auth/clients", post(clients::add).get(clients::list))
        .route(
            "/auth/clients/{id}",
            get(clients::get).patch(clients::change).delete(clients::delete),
        )
        .route("/auth/clients/{id}/roll", post(clients::roll))
        .route("/auth/users", get(users::list))
        .route("/auth/users/{id}", get(users::get).patch(users::change).delete(users::delete))
        .route("/auth/keys", get(keys::list).post(keys::create))
        .route("/auth/keys/{id}", get(keys::get).patch(keys::change).delete(keys::revoke))
        .route("/auth/keys/{id}/roll", post(keys::roll))
        .route("/auth/usage", get(usage::usage))
        .route("/oauth/token", post(oauth::token))
        .route("/oauth/introspect", post(oauth::introspect))
        .route("/oauth/revoke", post(oauth::revoke))
        .route("/.well-known/jwks.json", get(oauth::jwks))
        .route("/.well-known/oauth-authorization-server", get(oauth::metadata))
        .fallback(|| async { Problem::NotFound })
        .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
        .layer(middleware::from_fn(log::log))
        // Not logged.
        .route("/healthz", get(health))
        .with_state(state)
}

/// Returns the routes for operators.
pub fn admin_router(state: Arc<AppState>) -> Router {
    Router::new()
        .route("/healthz", get(health))
        .route("/readyz", get(metrics::ready))
        .route("/metrics", get(metrics::metrics))
        .with_state(state)
}

async fn health() -> &'static str {
    "ok\n"
}
