//! The anonymous requests that count on the limit of one address.

use std::sync::Mutex;
use std::time::Instant;

/// The requests of the greedy address that passed: when each was sent and answered.
#[derive(Default)]
pub struct Guests(pub Mutex<Vec<(Instant, Instant)>>);
