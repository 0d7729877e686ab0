//! Refreshes of tokens. Of several identical refreshes, such as those of two tabs, only the first
//! goes to the auth service: it takes a lease in the store. The others wait for its response, which
//! is stored for a short time, encrypted for the token's holder.
//!
//! A family is all refresh tokens that come from one token by refreshes through the edge. After a
//! revocation none of its responses is replayed.

pub(crate) mod lease;
pub(crate) mod presented;
pub(crate) mod replay_key;
pub(crate) mod response;
pub(crate) mod revocation;
pub(crate) mod validity;
