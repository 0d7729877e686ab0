//! The cookies that core itself knows by name.

/// The cookie in which browsers hold the bundled auth service's refresh token.
pub const REFRESH_COOKIE: &str = "__Host-portcullis-refresh";

/// The cookie in which browsers hold a session of the operator console, with https.
pub const CONSOLE_COOKIE: &str = "__Host-console";
