//! The services that the edge calls: a circuit breaker for each, and retries.

pub mod breakers;
pub mod call;
pub mod retry;
