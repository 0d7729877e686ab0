//! The clock and timers.

use super::bindings;
use super::executor::TaskPort;
use wasm_bindgen::JsValue;

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

/// Returns the system's time, for tests outside of a Worker.
#[cfg(not(target_arch = "wasm32"))]
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

/// Waits, while other requests of the isolate go on.
pub async fn sleep(port: &TaskPort, ms: u32) {
    let _ = port.settle(&bindings::sleep(ms), ms).await;
}

/// Lets one task wait for another.
#[derive(Clone)]
pub struct Notify(JsValue);

impl Notify {
    /// Creates a notification that is not given yet.
    pub fn new() -> Self {
        Self(bindings::create_notify())
    }

    /// Wakes the tasks that wait.
    pub fn notify(&self) {
        bindings::notify(&self.0);
    }

    /// Waits until the notification is given, for at most `ms`.
    pub async fn wait(&self, port: &TaskPort, ms: u32) {
        let _ = port.settle(&bindings::notified(&self.0, ms), ms).await;
    }
}
