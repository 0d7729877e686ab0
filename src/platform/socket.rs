//! TCP, for memcached.

use super::bindings;
use super::executor::TaskPort;
use super::protocol::PlatformError;

/// Sends a batch of commands to a memcached server and returns the whole reply.
pub async fn exchange(
    port: &TaskPort,
    address: &memcached::Address,
    batch: &str,
    deadline_ms: u32,
    bytes_max: u32,
) -> Result<String, PlatformError> {
    let promise = bindings::exchange(&address.host, address.tls, batch, deadline_ms, bytes_max);
    port.settle(&promise, deadline_ms).await?.as_string().ok_or(PlatformError::Protocol)
}
