//! Events that a provider pushes: they revoke tokens without a poll.
//!
//! 1. [`EventFormat::of`] finds the format, and [`EventRequest::read`] the signed token in the
//!    request.
//! 2. [`EventRequest::parse`] checks everything that needs no I/O. The host verifies the signature
//!    and passes the result to [`UnverifiedEvent::accept`].
//! 3. [`Event::claim`] is the store's command that makes an event count once, and
//!    [`Event::marks`] are those that revoke.

pub(crate) mod answer;
pub(crate) mod marks;
pub(crate) mod parse;
pub(crate) mod recent;
pub(crate) mod request;
mod subject;
mod types;

#[cfg(test)]
mod tests;
