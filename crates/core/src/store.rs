//! The store: where it is, the name of every key in it, and how records are encrypted.

pub(crate) mod address;
pub(crate) mod keys;
pub(crate) mod seal;
