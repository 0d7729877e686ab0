//! The store: its address, its scripts, the name of every key in it, and the encryption of records.

pub(crate) mod address;
pub(crate) mod keys;
pub(crate) mod script;
pub(crate) mod seal;
