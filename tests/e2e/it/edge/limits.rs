//! Rate limits as clients and operators meet them.

mod abuse;
mod counting;
mod outages;
mod scene;
