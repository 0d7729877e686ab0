//! The times of a refresh.

use portcullis_core::Policy;

/// Returns how long one lease lasts: the auth service's deadline, and the store's around it.
pub fn lease_seconds(policy: &Policy, deadline_ms: u32) -> u64 {
    let store_ms = u64::from(policy.timeouts.store_ms) * 2;
    (u64::from(deadline_ms) + store_ms).div_ceil(1000) + 1
}

/// How long the auth service's response is awaited after its client has left: the 30 s that the
/// platform grants, less a margin.
pub const LATE_MS_MAX: u32 = 25_000;
/// The same, with a margin, for the store.
pub const LATE_SECONDS_MAX: u64 = 26;
/// More than any timer is late.
pub const TIMER_MARGIN_MS: u32 = 1000;
/// The pauses between attempts to write to the store.
pub const STORE_RETRY_PAUSES_MS: [u32; 4] = [250, 500, 1000, 2000];
