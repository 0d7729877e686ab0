//! The endpoints of the console for the keys that sign tokens.

use super::state::ConsoleState;
use axum::Router;
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new()
}
