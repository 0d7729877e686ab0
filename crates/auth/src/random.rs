//! Random values from the operating system.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Returns 128 random bits in base64url: a unique id.
pub fn random_id() -> String {
    let mut bytes = [0; 16];
    fill_random(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Returns 96 random bits: the nonce of one encrypted value.
pub fn nonce() -> [u8; 12] {
    let mut nonce = [0; 12];
    fill_random(&mut nonce);
    nonce
}

/// Returns a random number below `end`, for sampling. Small numbers are slightly more probable.
pub fn random_below(end: u64) -> u64 {
    let mut bytes = [0; 8];
    fill_random(&mut bytes);
    u64::from_ne_bytes(bytes).checked_rem(end).unwrap_or(0)
}

/// Fills `bytes` with random bytes. Aborts the process if the system has none, because predictable
/// tokens are worse than an outage.
pub fn fill_random(bytes: &mut [u8]) {
    if aws_lc_rs::rand::fill(bytes).is_err() {
        tracing::error!(event = "stopped", error = "the system's source of randomness fails");
        std::process::abort();
    }
}
