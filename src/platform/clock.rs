//! The clock and timers.

pub use super::now::now_ms;

use super::bindings;
use super::executor::TaskPort;
use wasm_bindgen::JsValue;

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
