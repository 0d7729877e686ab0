//! The time.

#[cfg(target_arch = "wasm32")]
use super::bindings;
#[cfg(target_arch = "wasm32")]
use std::cell::Cell;

#[cfg(target_arch = "wasm32")]
thread_local! {
    /// The time since JavaScript last called; 0 if nothing has read it since.
    static NOW_MS: Cell<u64> = const { Cell::new(0) };
}

/// Forgets the time, which may have moved since the last call of JavaScript.
pub fn forget_now() {
    #[cfg(target_arch = "wasm32")]
    NOW_MS.set(0);
}

/// Returns the time in milliseconds since 1970. It moves only with I/O, so one call of JavaScript
/// asks for it once.
#[cfg(target_arch = "wasm32")]
pub fn now_ms() -> u64 {
    match NOW_MS.get() {
        0 => {
            let now_ms = read_clock();
            NOW_MS.set(now_ms);
            now_ms
        }
        now_ms => now_ms,
    }
}

#[cfg(target_arch = "wasm32")]
fn read_clock() -> u64 {
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
