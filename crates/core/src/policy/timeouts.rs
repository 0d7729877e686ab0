//! How long the edge waits for its dependencies.

/// The timeouts, in milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// One round trip to the store.
    pub store_ms: u32,
    /// Until the auth service's response begins.
    pub auth_ms: u32,
    /// Until an upstream's response begins.
    pub upstream_ms: u32,
    /// Fetching an issuer's key set.
    pub key_set_ms: u32,
    /// One introspection.
    pub introspection_ms: u32,
}
