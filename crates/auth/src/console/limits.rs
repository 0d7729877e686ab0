//! The endpoints of the console for limits, quotas, credits and blocks.

use super::state::ConsoleState;
use axum::Router;
use std::sync::Arc;

/// Returns the routes, relative to `/console/api`.
pub fn routes() -> Router<Arc<ConsoleState>> {
    Router::new()
}
