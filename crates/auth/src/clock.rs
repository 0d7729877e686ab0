//! The clock.

use portcullis_core::UnixSeconds;
use std::time::{SystemTime, UNIX_EPOCH};

/// Returns the current time. The rest of the crate takes time as an argument.
pub fn now() -> UnixSeconds {
    UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()))
}
