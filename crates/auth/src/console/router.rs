//! The routes of the console.

use super::guard::guard;
use super::response::protect;
use super::state::ConsoleState;
use super::{
    adjust, assets, audit, clients, keys, limits, login, now, policies, refusals, sessions,
    signing, usage, users,
};
use crate::http::log;
use crate::problem::Problem;
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Redirect;
use axum::routing::{any, get};
use std::sync::Arc;

/// Returns the routes of the console.
pub fn console_router(state: Arc<ConsoleState>) -> Router {
    let to_console = || async { Redirect::temporary("/console/") };
    Router::new()
        .route("/", get(to_console))
        .route("/console", get(to_console))
        .route("/console/", get(assets::asset))
        .route("/console/{*path}", get(assets::asset))
        // The nested routes have no path that ends so.
        .route("/console/api/", any(|| async { Problem::NotFound }))
        .nest("/console/api", api(Arc::clone(&state)))
        .fallback(|| async { Problem::NotFound })
        .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
        .layer(from_fn(log::log))
        .layer(from_fn(protect))
        .with_state(state)
}

/// Returns the routes of the API, each behind the guard.
fn api(state: Arc<ConsoleState>) -> Router<Arc<ConsoleState>> {
    [
        adjust::routes(),
        audit::routes(),
        clients::routes(),
        keys::routes(),
        limits::routes(),
        login::routes(),
        now::routes(),
        policies::routes(),
        refusals::routes(),
        sessions::routes(),
        signing::routes(),
        usage::routes(),
        users::routes(),
    ]
    .into_iter()
    .fold(Router::new(), Router::merge)
    // Keeps unknown paths from the pages, and behind the guard.
    .route("/", any(|| async { Problem::NotFound }))
    .route("/{*path}", any(|| async { Problem::NotFound }))
    .method_not_allowed_fallback(|| async { Problem::MethodNotAllowed })
    .layer(from_fn_with_state(state, guard))
}
