//! The clock.

use portcullis_core::UnixSeconds;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the current time. The rest of the crate takes time as an argument.
pub fn now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()))
}

/// Returns the current time in Unix milliseconds.
pub fn now_ms() -> u64 {
    let age = SystemTime::now().duration_since(UNIX_EPOCH);
    age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}
