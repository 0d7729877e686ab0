//! How issuers' key sets are cached.

/// The caching of key sets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeySetPolicy {
    /// How long a key set is used without fetching it again.
    pub fresh_seconds: u32,
    /// How long a key set is used while its issuer can't be reached.
    pub stale_seconds_max: u32,
    /// The cool-down. Within it, each unknown `kid` causes one fetch, and all of them together at
    /// most four.
    pub cool_down_seconds: u32,
}
