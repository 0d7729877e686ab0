//! Attacks over raw sockets against the running Worker, each with its standard or CVE. The test is
//! what reaches the upstream: nothing that is not permitted, and no forged identity.

mod claims;
mod headers;
mod http;
mod signatures;
mod target;
