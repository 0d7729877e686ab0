//! How issuers' key sets are cached.

/// The caching of key sets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeySetPolicy {
    /// How long a key set is used without fetching it again, 1 to 86,400 s.
    pub fresh_seconds: u32,
    /// The greatest age of a key set that is used while its issuer can't be reached, 0 to 604,800
    /// s.
    pub stale_seconds_max: u32,
    /// The cool-down, 1 to 3,600 s, in which each unknown `kid` causes one fetch, and all of them
    /// at most four.
    pub cool_down_seconds: u32,
}
