//! Attacks over raw sockets against the running Worker, each with the standard or the CVE that it
//! comes from. What counts is what reaches the upstream: nothing that is not permitted, and no
//! forged identity.

mod claims;
mod headers;
mod http;
mod signatures;
mod target;
