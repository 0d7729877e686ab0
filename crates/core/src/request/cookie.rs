//! The cookies that core itself knows by name.

/// The cookie in which browsers hold the bundled auth service's refresh token.
pub const REFRESH_COOKIE: &str = "__Host-portcullis-refresh";

/// The cookies in which browsers hold a session of the operator console, with https and without.
pub const CONSOLE_COOKIES: [&str; 2] = ["__Host-console", "console"];
