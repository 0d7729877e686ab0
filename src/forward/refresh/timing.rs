//! Timeouts of a refresh.

use portcullis_core::Policy;

/// Returns the duration of a lease: the auth service's deadline, plus the store requests before and
/// after the call.
pub fn lease_seconds(policy: &Policy, deadline_ms: u32) -> u64 {
    let store_ms = u64::from(policy.timeouts.store_ms) * 2;
    (u64::from(deadline_ms) + store_ms).div_ceil(1000) + 1
}

/// How long the auth service's response is awaited after its client has left. The platform grants
/// 30 s; the rest is a margin.
pub const LATE_MS_MAX: u32 = 25_000;
/// How long the store keeps the lease for a late response: [`LATE_MS_MAX`] plus a margin.
pub const LATE_SECONDS_MAX: u64 = 26;
/// A margin that is longer than any timer is late.
pub const TIMER_MARGIN_MS: u32 = 1000;
/// The pauses between attempts to write a response to the store.
pub const STORE_RETRY_PAUSES_MS: [u32; 4] = [250, 500, 1000, 2000];
