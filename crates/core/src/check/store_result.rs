//! The results of the store's commands.

use crate::limits::local::LocalCount;
use crate::refusal::Outage;
use crate::token::record::TokenRecord;
use redis_rest::Reply;
use std::rc::Rc;

/// The result of one of the store's commands, or its replacement.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreResult {
    /// The store's reply.
    Reply(Reply),
    /// A token's record, from a reply or from its provider.
    Record(Rc<TokenRecord>),
    /// No reply: the store failed.
    Out(Outage),
    /// No reply was needed: the token's provider confirmed the token in this request.
    Introspected,
    /// No reply was needed: the isolate counted the request.
    CountedLocally(LocalCount),
}

/// What the store could not supply about a verified token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// The token's record.
    Record,
    /// Everything: the store is unavailable.
    Store,
}
