//! The operator's access token.

use std::time::Instant;
use tokio::sync::Mutex;

/// The operator's access token, and when it was issued.
#[derive(Default)]
pub struct Operator(pub Mutex<Option<(String, Instant)>>);
