//! The time.

#[cfg(target_arch = "wasm32")]
use super::bindings;

/// Returns the time in milliseconds since 1970. On Workers it moves only with I/O.
#[cfg(target_arch = "wasm32")]
pub fn now_ms() -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a clock's reading"
    )]
    let now = bindings::now() as u64;
    now
}

/// Returns the system's time in milliseconds since 1970, for tests outside of a Worker.
#[cfg(not(target_arch = "wasm32"))]
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}
