//! The system while one of its parts fails.

mod breakers;
mod crashes;
mod database;
mod eviction;
mod faults;
mod log_format;
mod neighbours;
mod outages;
mod soak;
mod storm;
