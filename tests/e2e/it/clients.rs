//! Clients of other authors, and the one for browsers.

mod oauth;
mod tabs;
mod upstash;
