//! Forwarding a permitted request: its target, and the header fields that identify the caller.

pub(crate) mod assertion;
pub(crate) mod edge_auth;
pub(crate) mod facts;
pub(crate) mod headers;
pub(crate) mod identity;
pub(crate) mod permit;
pub(crate) mod session;
pub(crate) mod stream;
pub(crate) mod traceparent;
