//! Rate limits, as clients and operators experience them.

mod abuse;
mod counting;
mod outages;
mod scene;
