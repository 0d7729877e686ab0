//! The system while a part of it fails.

mod breakers;
mod crashes;
mod faults;
mod outages;
mod soak;
mod storm;
