//! The clock and timers.

pub use super::now::{forget_now, now_ms};

use super::bindings;
use super::executor::TaskPort;
use wasm_bindgen::JsValue;

/// Waits for `ms`, while the isolate serves other requests.
pub async fn sleep(port: &TaskPort, ms: u32) {
    let _ = port.settle(&bindings::sleep(ms), ms).await;
}

/// A notification by which one task wakes another.
#[derive(Clone)]
pub struct Notify(JsValue);

impl Notify {
    /// Creates a notification that has not been sent.
    pub fn new() -> Self {
        Self(bindings::create_notify())
    }

    /// Wakes the tasks that wait for the notification.
    pub fn notify(&self) {
        bindings::notify(&self.0);
    }

    /// Waits for the notification, for at most `ms`.
    pub async fn wait(&self, port: &TaskPort, ms: u32) {
        let _ = port.settle(&bindings::notified(&self.0, ms), ms).await;
    }
}
