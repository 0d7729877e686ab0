//! The outbox: keeps the store consistent with the database.
//!
//! Each change commits its commands for the store to the outbox. They are sent at once, and retried
//! until the store has executed them. If the store loses data, all live revocations are
//! republished.

mod about;
mod adjustments;
mod api_keys;
mod commands;
mod delivery_times;
mod eviction;
mod publisher;
mod quotas;
mod reconcile;
mod records;
mod settle;

pub use commands::{Holder, HolderState, IssuedAccessToken, IssuedClientToken, REVOCATION_SECONDS};
pub use delivery_times::{DELIVERY_BOUNDS_MS, DeliveryTimes};
pub use publisher::{Delivery, Publisher};
pub use reconcile::StoreHealth;
pub use records::RecordSettings;

#[cfg(test)]
mod tests;
