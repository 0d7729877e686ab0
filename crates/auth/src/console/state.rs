//! The state that all endpoints of the console share.

use super::console_sessions::ConsoleSessions;
use super::cookie::ConsoleCookie;
use crate::http::AppState;
use axum::extract::State;
use std::sync::Arc;

/// The state that all endpoints of the console share.
pub struct ConsoleState {
    pub app: Arc<AppState>,
    pub sessions: ConsoleSessions,
    /// The origin at which browsers open the console.
    pub origin: String,
    pub cookie: ConsoleCookie,
}

/// The state, as endpoints extract it.
pub type SharedConsole = State<Arc<ConsoleState>>;

impl ConsoleState {
    /// Creates the state of a console that browsers open at `origin`.
    pub fn new(app: Arc<AppState>, origin: String, session_seconds: u64) -> Self {
        let sessions = ConsoleSessions::new(Arc::clone(&app.db), session_seconds);
        let cookie = ConsoleCookie::of_origin(&origin);
        Self { app, sessions, origin, cookie }
    }
}
