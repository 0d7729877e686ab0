//! Rate limits, as clients and operators experience them.

mod abuse;
mod counting;
mod failover;
mod leases;
mod outages;
mod quotas;
pub mod race;
pub mod scene;
mod scripts;
