//! Rate limits, applied to requests: by the store, by a lease of its quota, or by one
//! isolate alone.

pub(crate) mod check;
#[cfg(test)]
mod fixtures;
pub(crate) mod key;
pub(crate) mod lease;
pub(crate) mod local;
pub(crate) mod owed;
pub(crate) mod periods;
pub(crate) mod restore;
pub(crate) mod script;
