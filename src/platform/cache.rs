//! The platform's cache, which the isolates of one location share.

use super::bindings;
use super::executor::{PLATFORM_MS_MAX, TaskPort};

/// Reads a text. Returns `None` if it is missing, or if the platform has no cache.
pub async fn get(port: &TaskPort, url: &str) -> Option<String> {
    port.settle(&bindings::cache_get(url), PLATFORM_MS_MAX).await.ok()?.as_string()
}

/// Writes a text for `seconds`, if the platform has a cache. A failure is ignored: the entry is
/// then missing.
pub async fn put(port: &TaskPort, url: &str, text: &str, seconds: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a week at most")]
    let seconds = seconds as f64;
    let _ = port.settle(&bindings::cache_put(url, text, seconds), PLATFORM_MS_MAX).await;
}
