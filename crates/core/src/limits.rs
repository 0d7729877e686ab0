//! Rate limits, applied to requests: by the store, or by one isolate alone.

pub(crate) mod check;
pub(crate) mod local;
