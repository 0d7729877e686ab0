//! Rate limits, as clients and operators experience them.

mod abuse;
mod counting;
mod leases;
mod outages;
pub mod scene;
