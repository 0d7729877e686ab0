//! Rate limits, applied to requests: by the store, by a lease of its quota, or by one
//! isolate alone.

pub(crate) mod check;
pub(crate) mod lease;
pub(crate) mod local;
